"""A door of the toolkit: what can be handed in, what of it is right, and how what was handed in is begun."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import DistillationError

PROCESSOR_SECONDS, SECONDS = 2.0, 60.0
"""Of one configuration: what it may compute, and how long it may take on a machine that is busy with others."""


EMPTY: tuple[Any, ...] = ([], (), {}, "")


@dataclass(frozen=True)
class Argument:
    """One argument of a door.

    Attributes:
        right: values with which a training begins.
        wrong: values that must be refused.
        odd: values that may be either.
        called: how messages may call it, besides its own name.
    """

    right: Sequence[Any] = ()
    wrong: Sequence[Any] = ()
    odd: Sequence[Any] = ()
    called: Sequence[str] = ()


@dataclass(frozen=True)
class Door:
    """Where configurations come in.

    Attributes:
        begin: (arguments, empty folder) -> None; trains one step with them.
        arguments: by name; a value that is `Made` is made anew for each configuration.
    """

    begin: Callable[[Mapping[str, Any], Path], None]
    arguments: Mapping[str, Argument] = field(default_factory=dict)

    def called(self, argument: str) -> Sequence[str]:
        """Further names of an argument in messages."""
        return self.arguments[argument].called if argument in self.arguments else ()


@dataclass(frozen=True)
class Made:
    """A value that is made anew for each configuration, such as a model."""

    make: Callable[[], Any]


def made(value: Any) -> Any:
    return value.make() if isinstance(value, Made) else value


def complaint(door: Door, given: Mapping[str, Any], verdicts: Mapping[str, str], folder: Path) -> str:
    """What is wrong with how a door took a configuration; "" where it was right.

    Args:
        door: to go through.
        given: the arguments that are not as always.
        verdicts: of each of them: "right", "wrong" or "odd".
        folder: does not exist yet.
    """
    values = {name: made(value) for name, value in given.items()}
    wrong = [name for name, verdict in verdicts.items() if verdict == "wrong"]
    suspects = [name for name, verdict in verdicts.items() if verdict != "right"]
    try:
        with limited():
            door.begin(values, folder)
    except DistillationError as error:
        if not suspects:
            return f"a right configuration was refused: {error}"
        for name in suspects:
            if names(str(error), name, values[name], door.called(name), shown=verdicts[name] == "wrong"):
                return ""
        return f"the message names neither argument nor value: {type(error).__name__}: {error}"
    except Exception as error:
        return f"{type(error).__name__}, which is no error of the toolkit's: {str(error)[:300]}"
    return f"{wrong} was taken without a word" if wrong else ""


def names(message: str, argument: str, value: Any, called: Sequence[str], *, shown: bool) -> bool:
    """Whether a message names an argument, or a setting within its value, and shows the value where it must."""
    folded = _folded(message)
    named = any(_folded(word) in folded for word in (argument.rpartition(".")[2], *called))
    if isinstance(value, Mapping) and value:
        named = named or any(_folded(key) in folded for key in keys(value))
    return named and (not shown or shows(message, value))


def keys(value: Mapping[Any, Any]) -> Iterator[str]:
    """The names of settings, and of settings within them."""
    for key, inner in value.items():
        yield str(key)
        yield from keys(inner) if isinstance(inner, Mapping) else ()


def shows(message: str, value: Any) -> bool:
    """Whether a message shows a value, or says what there is none of."""
    if any(word in message for word in ("Known:", "It takes")):
        return True  # where there is no such name, its value does not matter
    if not isinstance(value, (type(None), bool, int, float, complex, str, bytes, list, tuple, dict)):
        return True  # an object of its own, which messages call by its type, or by what it lacks
    seen = [repr(value), str(value), type(value).__name__]
    if isinstance(value, dict):
        seen += map(repr, value)
        if any(shows(message, inner) for inner in value.values()):
            return True
    seen += [repr(tuple(value))] if isinstance(value, list) else []
    seen += ["empty", "at least one", "no batch"] if value in EMPTY else []
    seen += ["missing", "there is no", "needs"] if value is None else []
    return any(text[:40] in message for text in seen if text)


def _folded(text: str) -> str:
    return text.casefold().replace("_", "").replace(" ", "").replace("-", "")


@contextmanager
def limited() -> Iterator[None]:
    """End what computes for too long, or hangs."""

    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"It had not begun within {PROCESSOR_SECONDS} seconds of computing.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
