"""API keys stay out of messages, logs and files: which keys there are, and what is said without them."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from knowledge_distillation.errors import DistillationError

Result = TypeVar("Result")
VARIABLES = (
    "COMET_API_KEY", "WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
)  # fmt: skip
ADDRESSES = ("MLFLOW_TRACKING_URI", "WANDB_BASE_URL", "COMET_URL_OVERRIDE")
"""Variables with an address, which may hold a password."""
SHORTEST = 6
"""Characters below which a value is no key, and stands in other words as well."""
HIDDEN = "***"
_given: set[str] = set()


def remember(key: str) -> None:
    """Hide a key that came from a file or an argument, for the rest of this process."""
    _given.add(key)
    if not getattr(logging.getLogRecordFactory(), "hides_keys", False):
        logging.setLogRecordFactory(_hiding(logging.getLogRecordFactory()))


def known_keys() -> Iterator[str]:
    """Keys of this process, the longest first."""
    addresses = (urlsplit(os.environ.get(name, "")).password for name in ADDRESSES)
    found = {*_given, *(os.environ.get(name, "") for name in VARIABLES), *filter(None, addresses)}
    found |= {unquote(key) for key in found}
    return iter(sorted((key for key in found if len(key) >= SHORTEST), key=len, reverse=True))


def without_keys(text: str) -> str:
    """The text with "***" in place of every known key."""
    for key in known_keys():
        text = text.replace(key, HIDDEN)
    return text


def plain_without_keys(value: Any) -> Any:
    """Plain data with its texts as of `without_keys`."""
    if isinstance(value, str):
        return without_keys(value)
    if isinstance(value, Mapping):
        return {plain_without_keys(key): plain_without_keys(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain_without_keys, value))
    return value


def hiding_keys(what: str, call: Callable[[], Result]) -> Result:
    """The result of a call; an error that shows a key comes out as one that does not.

    Args:
        what: begins the message of that error: whose words they are.
        call: without arguments.

    Raises:
        DistillationError: in place of an error whose traceback would show a key; the error itself is let go.
    """
    try:
        return call()
    except Exception as error:
        said = "".join(traceback.format_exception(error))
        if without_keys(said) == said:
            raise
        failure = without_keys(f"{type(error).__name__}: {error}")
    raise DistillationError(f"{what}: {failure}")  # out of the handler, so that the first error is no context of it


def _hiding(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    """A factory of log records without keys: trackers log the ones that were refused."""

    def made(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        try:
            said = record.getMessage()
        except (TypeError, ValueError):  # what does not fit its arguments is reported by the handlers
            said = str(record.msg)
        if without_keys(said) != said:
            record.msg, record.args = without_keys(said), ()
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            if without_keys(trace) != trace:
                record.exc_info, record.exc_text = None, without_keys(trace)
        return record

    made.hides_keys = True  # type: ignore[attr-defined]
    return made
