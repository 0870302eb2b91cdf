"""The hooks behind `Taps`: what runs each time a tapped module is called."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.calls import Calls, in_backward
from knowledge_distillation.capture.paths import Place
from knowledge_distillation.capture.selectors import pick
from knowledge_distillation.errors import CaptureError

Which = Literal["output", "input"]


class LastTapReached(Exception):
    """Ends a forward from inside it; `Taps.run` catches it."""


class Inert:
    """What a hook becomes in a copy or a pickle of the tapped model: it does nothing."""

    def __call__(self, *received: Any) -> None:
        """Leave the call as it is."""


class Hook:
    """Keeps one tensor of each call of one module."""

    def __init__(self, place: Place, which: Which, group: Group, *, clone: bool) -> None:
        self.owner = place.module
        self.selector = place.selector
        self.reads_input = which == "input"
        self.group = group
        self.label = f"The {which} of {place.name!r}"
        self.calls = Calls(self.label, clone=clone)
        self.without_gradient = False
        self.seen = 0

    def __call__(self, module: nn.Module, positional: tuple[Any, ...], other: Any) -> None:
        """Read one call; `other` is the output, or the keyword inputs before the module runs."""
        # DataParallel's replicas share this hook but are other modules.
        if module is not self.owner:
            return
        value = {**dict(enumerate(positional)), **other} if self.reads_input else other
        tensor = value if isinstance(value, Tensor) and not self.selector else pick(value, self.selector, self.label)
        compiling = torch.compiler.is_compiling()
        if not compiling:
            if in_backward():
                self._check_recomputed(tensor)
                return
            self.without_gradient = not tensor.requires_grad
        self.calls.add(tensor, compiling)
        if self.group.wait_for:
            self.seen += 1
            self.group.stop_if_done()

    def __reduce__(self) -> tuple[type[Inert], tuple[()]]:
        return Inert, ()

    def _check_recomputed(self, tensor: Tensor) -> None:
        if self.without_gradient and tensor.requires_grad:
            raise CaptureError(
                f"{self.label} must carry gradient, but was read inside a reentrant activation checkpoint, where the "
                "first forward has none: a loss on it would train nothing. Checkpoint with use_reentrant=False, or "
                "tap the module around the checkpoint."
            )


class Group:
    """What the hooks of one `Taps` share."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.attached = False
        self.wait_for = 0
        self.traced = False
        self.done = False

    def wait(self, calls: int) -> None:
        """Start counting: the forward ends once every tap has fired `calls` times; 0 lets it run."""
        for hook in self.hooks:
            hook.seen = 0
        self.traced = torch.compiler.is_compiling()
        self.wait_for = calls
        self.done = False

    def stop_if_done(self) -> None:
        """Raise `LastTapReached` when no tap waits any more."""
        # No exception may leave a compiled graph: inside one it is raised only if `run` was traced as well.
        if torch.compiler.is_compiling() and not self.traced:
            return
        if all(hook.seen >= self.wait_for for hook in self.hooks):
            self.done = True
            raise LastTapReached


class NewForward:
    """Empties the taps when the model's forward starts anew."""

    def __init__(self, model: nn.Module, group: Group) -> None:
        self.owner = model
        self.group = group

    def __call__(self, module: nn.Module, positional: tuple[Any, ...]) -> None:
        """Runs before the model's own forward."""
        if module is not self.owner:
            return
        if torch.compiler.is_compiling() or not in_backward():
            for hook in self.group.hooks:
                hook.calls.clear()

    def __reduce__(self) -> tuple[type[Inert], tuple[()]]:
        return Inert, ()
