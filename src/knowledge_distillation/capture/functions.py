"""Read what a plain function or a method gives or gets, where there is no module to hook."""

from __future__ import annotations

import functools
from types import TracebackType
from typing import Any, get_args

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.calls import Calls, in_backward
from knowledge_distillation.capture.hooks import Which
from knowledge_distillation.capture.selectors import parse, pick
from knowledge_distillation.errors import CaptureError, ConfigError, nearest

_ABSENT = object()


class FunctionTap:
    """Record a function's tensors while a `with` block runs, then put the function back as it was.

    The name is replaced on its owner, so callers that look it up there are seen
    (`torch.nn.functional.scaled_dot_product_attention`); code that imported the function by name holds the
    original, and needs that module as owner. Enter the block before the first call under torch.compile.

    Args:
        owner: a module such as torch.nn.functional, a class, or an object such as a model.
        name: the function's or method's name.
        which: "output" or "input".
        element: which element, "[1]" or "[key]"; the rules are those of `Taps`.
        clone: keep copies.

    Raises:
        ConfigError: if `which` is neither of the two.
        CaptureError: if the owner has no such function, or it is a module.

    Example:
        >>> query = torch.ones(1, 1, 2, 4)
        >>> with FunctionTap(torch.nn.functional, "scaled_dot_product_attention") as attention:
        ...     output = torch.nn.functional.scaled_dot_product_attention(query, query, query)
        >>> attention.last is output
        True
    """

    def __init__(
        self, owner: Any, name: str, which: Which = "output", *, element: str = "", clone: bool = False
    ) -> None:
        if which not in get_args(Which):
            raise ConfigError(f"which must be 'output' or 'input', got {which!r}.")
        function = getattr(owner, name, _ABSENT)
        where = getattr(owner, "__name__", type(owner).__name__)
        if function is _ABSENT:
            raise CaptureError(f"{where} has no function {name!r}. {nearest(name, dir(owner))}")
        if isinstance(function, nn.Module) or not callable(function):
            raise CaptureError(
                f"{where}.{name} must be a function or a method, got {type(function).__name__}. A module is read by "
                "kd.capture.tap(model, paths)."
            )
        self._owner, self._name, self._which = owner, name, which
        self._selector = parse(element)[1]
        self._calls = Calls(f"The {which} of {where}.{name}", clone=clone)
        self._before: Any = _ABSENT

    @property
    def last(self) -> Tensor:
        """The tensor of the last call.

        Raises:
            CaptureError: if the function was not called, or the tensor was changed in place.
        """
        if not len(self._calls):
            raise CaptureError(
                f"{self._calls.label} was read, but the function was not called. Perhaps the caller imported it by "
                "name, so that its own module is the owner to name, or was compiled before the tap came."
            )
        return self._calls.last()

    def all(self) -> list[Tensor]:
        """The tensors of all calls, first call first."""
        return self._calls.all()

    def take(self) -> list[Tensor]:
        """The tensors of all calls; nothing is held afterwards."""
        try:
            return self._calls.all()
        finally:
            self._calls.clear()

    def __enter__(self) -> FunctionTap:
        if self._before is not _ABSENT:
            raise CaptureError(f"{self._calls.label} is being read already. Use a second FunctionTap inside.")
        function = getattr(self._owner, self._name)
        held = vars(self._owner).get(self._name, _ABSENT)
        self._before = (held,)

        @functools.wraps(function)
        def recorded(*positional: Any, **keywords: Any) -> Any:
            if self._which == "input":
                self._record({**dict(enumerate(positional)), **keywords})
                return function(*positional, **keywords)
            output = function(*positional, **keywords)
            self._record(output)
            return output

        bound = isinstance(self._owner, type) and isinstance(held, (staticmethod, classmethod))
        setattr(self._owner, self._name, staticmethod(recorded) if bound else recorded)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        (held,), self._before = self._before, _ABSENT
        if held is _ABSENT:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, held)
        if kind is not None:
            self._calls.clear()

    def _record(self, value: Any) -> None:
        compiling = torch.compiler.is_compiling()
        if compiling or not in_backward():
            self._calls.add(pick(value, self._selector, self._calls.label), compiling)
