"""Taps: forward hooks that read inside an unmodified model and are always taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from knowledge_distillation.capture.hooks import Group, Hook, LastTapReached, NewForward, Which
from knowledge_distillation.capture.paths import resolve, unwrap
from knowledge_distillation.errors import CaptureError, ConfigError, nearest

Keep = Literal["all", "forward"]


class Taps:
    """Read the outputs or inputs of any modules of a model, by path, without changing the model.

    As a context manager the hooks live inside the `with` block; the tensors stay readable after it. As a
    long-lived object, `attach()` once, `take()` after each forward, `detach()` at the end.

    Args:
        model: any module; torch.compile, DDP and FSDP wrappers are looked through.
        paths: module paths or globs, such as "layer3.1", "encoder.layer.*", "**.attn", "encoder.layer.3[1]";
            a single string is one path. See `paths.resolve` and `selectors.pick` for the rules.
        which: "output" reads what the module returns; "input" what it receives, its first tensor argument by
            default, "path[1]" for a positional and "path[key]" for a keyword argument.
        until_last_tap: how many calls of every tap `run` waits for before it ends the forward; True is 1,
            False lets it run to its end. Modules called several times in a forward need their count.
        keep: "all" keeps every call until `take()` or `clear()`. "forward" also empties the taps whenever the
            model's forward starts anew: for a training run, whose validation calls the model without taking.
        clone: keep copies, for tensors that the model later changes in place (reading these raises).

    Tensors keep their graph: gradient flows through what was read.

    Raises:
        ConfigError: if `which`, `keep` or `until_last_tap` is none of these.
        CaptureError: if a path matches nothing, or a module that is never called.

    Notes:
        torch.compile: attach before the first compiled call; torch ignores hooks that come later. The hooks are
        traced into the graph, with fullgraph=True too, and copy what they read. Detaching recompiles.
        Activation checkpointing: the second forward, inside backward, is not recorded. Inside a reentrant
        checkpoint a feature has no gradient; this raises in the first backward.
        DDP: tap before or after wrapping. The student's features must also take part in its output, or DDP
        needs find_unused_parameters=True.
        Copies and pickles of a tapped model do not record.
    """

    def __init__(
        self,
        model: nn.Module,
        paths: str | Iterable[str],
        which: Which = "output",
        *,
        until_last_tap: bool | int = False,
        keep: Keep = "all",
        clone: bool = False,
    ) -> None:
        if which not in get_args(Which):
            raise ConfigError(f"which must be 'output' or 'input', got {which!r}.")
        if keep not in get_args(Keep):
            raise ConfigError(f"keep must be 'all' or 'forward', got {keep!r}.")
        if not isinstance(until_last_tap, int) or until_last_tap < 0:
            raise ConfigError(f"until_last_tap must be True, False or a number of calls, got {until_last_tap!r}.")
        self._model = unwrap(model)
        self._which: Which = which
        self._keep: Keep = keep
        self._wait_for = int(until_last_tap)
        self._group = Group()
        places = resolve(model, [paths] if isinstance(paths, str) else paths)
        self._hooks = {place.name: Hook(place, which, self._group, clone=clone) for place in places}
        self._group.hooks.extend(self._hooks.values())
        self._handles: list[RemovableHandle] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each tap: plain paths as written, globs as what they matched."""
        return tuple(self._hooks)

    def attach(self) -> Taps:
        """Put the hooks on the model; nothing happens if they are there already."""
        if self._handles:
            return self
        try:
            if self._keep == "forward":
                self._handles.append(self._model.register_forward_pre_hook(NewForward(self._model, self._group)))
            for hook in self._hooks.values():
                if self._which == "output":
                    handle = hook.owner.register_forward_hook(hook)
                else:
                    handle = hook.owner.register_forward_pre_hook(hook, with_kwargs=True)
                self._handles.append(handle)
        except BaseException:
            self.detach()
            raise
        self._group.attached = True
        return self

    def detach(self) -> None:
        """Take every hook off the model; what was read stays until `take()` or `clear()`."""
        self._group.attached = False
        while self._handles:
            self._handles.pop().remove()

    def clear(self) -> None:
        """Let go of everything that was read."""
        for hook in self._hooks.values():
            hook.calls.clear()

    def take(self) -> dict[str, Tensor]:
        """The last call of every tap by name; the taps are empty afterwards, whether this raises or not.

        Raises:
            CaptureError: if a tap never fired, or its tensor was changed in place.
        """
        try:
            return {name: self[name] for name in self._hooks}
        finally:
            self.clear()

    def all(self, name: str) -> list[Tensor]:
        """Every call of one tap since the taps were last emptied, first call first; empty if it never fired.

        Raises:
            CaptureError: if there is no such tap, or a tensor was changed in place.
        """
        return self._hook(name).calls.all()

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call `function` and, with `until_last_tap`, end the forward once every tap has read what it waits for.

        Args:
            function: the model, or anything that calls it.
            arguments: handed on, as are the keywords.

        Returns:
            What the function returns, or None when the forward was ended early.

        Raises:
            CaptureError: if the taps are not on the model.

        The modules that would come later are not called, so batch statistics and caches that they keep are not
        updated; FSDP needs its full forward. A forward compiled by torch.compile is not cut, since no exception
        may leave a graph: compile a function that calls `run` to have the shorter graph.
        """
        if not self._group.attached:
            raise CaptureError("run needs taps that are on the model. Call attach() first, or use `with`.")
        self._group.wait(self._wait_for)
        try:
            return function(*arguments, **keywords)
        except LastTapReached:
            if not self._group.done:
                raise
            return None
        finally:
            self._group.wait(0)

    def __enter__(self) -> Taps:
        return self.attach()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.detach()
        if kind is not None:
            self.clear()

    def __contains__(self, name: object) -> bool:
        return name in self._hooks

    def __len__(self) -> int:
        return len(self._hooks)

    def __getitem__(self, name: str) -> Tensor:
        """The last call of one tap.

        Raises:
            CaptureError: if there is no such tap, it never fired, or its tensor was changed in place.
        """
        hook = self._hook(name)
        if len(hook.calls):
            return hook.calls.last()
        fired = [other for other, tap in self._hooks.items() if len(tap.calls)]
        raise CaptureError(
            f"Tap {name!r} must fire before it is read, but its {type(hook.owner).__name__} was not called; "
            f"taps that hold something: {', '.join(fired) or 'none'}. Perhaps no forward ran since they were "
            "attached or emptied, the model uses this module's weights without calling it, or torch.compile had "
            "compiled the model before the taps came. kd.capture.describe(model, example) lists the modules that "
            "are called."
        )

    def _hook(self, name: str) -> Hook:
        if name not in self._hooks:
            raise CaptureError(f"There is no tap named {name!r}. {nearest(name, self._hooks)}")
        return self._hooks[name]


def tap(
    model: nn.Module,
    paths: str | Iterable[str],
    which: Which = "output",
    *,
    until_last_tap: bool | int = False,
    keep: Keep = "all",
    clone: bool = False,
) -> Taps:
    """Read inside a model: `with tap(model, ["layer3.1"]) as taps: model(x)`, then `taps["layer3.1"]`.

    Args:
        model: any module.
        paths: module paths or globs.
        which: "output" or "input".
        until_last_tap: let `taps.run(model, x)` stop after the last needed module.
        keep: "all" calls, or those of the last "forward".
        clone: keep copies.

    Returns:
        `Taps`, whose documentation states every rule. `taps[path]` is the last call, `taps.all(path)` all.

    Raises:
        CaptureError: if a path matches nothing; the message shows the nearest ones.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
        >>> with tap(model, ["0"]) as taps:
        ...     output = model(torch.ones(1, 2))
        >>> torch.equal(taps["0"].relu(), output)
        True
    """
    return Taps(model, paths, which, until_last_tap=until_last_tap, keep=keep, clone=clone)
