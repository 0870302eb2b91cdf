"""What is found out when a check first asks for it, and what raised on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from knowledge_distillation.doctor.loaders import CannotTell

Result = TypeVar("Result")


class FindsOut:
    """Keeps what was made, and what raised.

    Attributes:
        made: name of a `once` property -> its value, or the `CannotTell` that it ended in.
        crashes: "student", "teacher", "objective", "train loader", ... -> what it raised when it was asked.
    """

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self.crashes: dict[str, Exception] = {}

    @contextmanager
    def blaming(self, what: str) -> Iterator[None]:
        """Note what raised, for the check that reports it, and go on without it."""
        try:
            yield
        except CannotTell:
            raise
        except Exception as error:
            self.crashes.setdefault(what, error)
            raise CannotTell(f"the {what} raised {type(error).__name__}") from error


class once(Generic[Result]):  # noqa: N801  (a decorator, as property is)
    """A property that is computed once, whether it succeeds or ends in `CannotTell`."""

    def __init__(self, make: Callable[[Any], Result]) -> None:
        self.make, self.name, self.__doc__ = make, make.__name__, make.__doc__

    def __get__(self, holder: FindsOut, owner: type | None = None) -> Result:
        if self.name not in holder.made:
            try:
                holder.made[self.name] = self.make(holder)
            except CannotTell as reason:
                holder.made[self.name] = reason
        found = holder.made[self.name]
        if isinstance(found, CannotTell):
            raise CannotTell(*found.args)
        return found  # type: ignore[no-any-return]
