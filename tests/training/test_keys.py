"""What goes wrong for a user when a key stands in what a library says."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

import pytest

from knowledge_distillation.errors import DistillationError, ShapeError
from knowledge_distillation.training import keys
from knowledge_distillation.training.keys import hiding_keys, plain_without_keys, remember, without_keys

KEY = "q9ZsecretKEY77"


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins without keys, and with the logging of this process as it was."""
    monkeypatch.setattr(keys, "_given", set())
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


def test_keys_of_variables_addresses_and_files_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one of the ways to give a key shows it."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:pass%2Fword@host")
    remember("another-key")
    assert without_keys(f"{KEY} pass%2Fword pass/word another-key") == "*** *** *** ***"
    assert plain_without_keys({KEY: [f"a {KEY}", 3, (KEY,)]}) == {"***": ["a ***", 3, ("***",)]}


def test_a_key_within_a_longer_one_leaves_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the end of the longer key stays."""
    remember(KEY)
    remember(f"{KEY}-and-more")
    assert without_keys(f"<{KEY}-and-more>") == "<***>"


def test_a_short_value_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a variable set to "a" takes every a out of every message."""
    monkeypatch.setenv("COMET_API_KEY", "a")
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert without_keys("a banana") == "a banana"


def test_an_error_that_shows_a_key_anywhere_in_its_chain_is_replaced() -> None:
    """Otherwise the traceback shows it above the message that does not."""
    remember(KEY)

    def fails() -> None:
        try:
            raise ConnectionError(f"GET ?key={KEY}")
        except ConnectionError as error:
            raise ValueError("refused") from error

    with pytest.raises(DistillationError, match=r"^The tracker: ValueError: refused$") as caught:
        hiding_keys("The tracker", fails)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_other_errors_and_results_pass_as_they_are() -> None:
    """Otherwise a training's own errors lose their type."""
    remember(KEY)
    mine = ShapeError("three and four")
    with pytest.raises(ShapeError) as caught:
        hiding_keys("The tracker", lambda: (_ for _ in ()).throw(mine))
    assert caught.value is mine
    assert hiding_keys("The tracker", lambda: 3) == 3


def test_log_lines_of_any_library_are_without_it(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise Comet's own "The given API key ... is invalid" is in the job's log."""
    remember(KEY)
    remember(KEY)
    library = logging.getLogger("some.library")
    library.error("The key %s is not valid: %s", KEY, {"key": KEY})
    try:
        raise ValueError(KEY)
    except ValueError:
        library.exception("It failed.")
    logging.getLogRecordFactory()("a", 40, "b", 1, "%d %s", ("one",), None)  # a line that does not fit its arguments
    assert KEY not in caplog.text
    assert "The key *** is not valid: {'key': '***'}" in caplog.text
    assert "ValueError: ***" in caplog.text
