"""What every term of an objective gives on one batch, one term at a time: one that fails hides no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import DistillationError
from knowledge_distillation.losses import Loss
from knowledge_distillation.objective import Objective
from knowledge_distillation.objective.binding import BoundTerm, each, lookup
from knowledge_distillation.signals import Signals

STOPS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class TermLook:
    """One term on one batch.

    Attributes:
        bound: the term, ready.
        weight: the largest weight that it has from the start to the end of training.
        value: unweighted; None if it raised.
        pull: norm of its gradient at the student's parameters, unweighted; None where it was not taken.
        error: what it raised.
        said, taught: the two signals that it compares; None where they are missing.
        follows: whether its value hangs on the student at all; None where no graph was kept.
    """

    bound: BoundTerm
    weight: float
    value: float | None
    pull: float | None
    error: Exception | None
    said: Any
    taught: Any
    follows: bool | None

    @property
    def name(self) -> str:
        """Of the term."""
        return self.bound.name

    @property
    def reads_logits(self) -> bool:
        """Whether it compares what both models answer, not what is inside them."""
        return not self.bound.is_own and each(self.bound.student) in (("logits",), ("log_probs",))

    @property
    def unequal(self) -> bool:
        """Whether the layers that it compares have other shapes on each side."""
        if self.reads_logits:
            return False
        pairs = zip(tensors(self.said), tensors(self.taught), strict=False)
        return any(said.shape != taught.shape for said, taught in pairs)

    @property
    def is_known_loss(self) -> bool:
        """Whether the loss is one of the catalogue."""
        return isinstance(self.bound.loss, Loss)


def looked_at(
    objective: Objective, said: Signals, taught: Signals | None, parameters: Sequence[Tensor]
) -> list[TermLook]:
    """Compute every term alone.

    Args:
        objective: ready, a copy: losses with queues are left changed.
        said: the student's signals, with graph if `parameters` are given.
        taught: the teacher's.
        parameters: the student's, whose gradients are taken; none to take no gradient.
    """
    return [_look(bound, said, taught, parameters) for bound in objective.bound]


def _look(bound: BoundTerm, said: Signals, taught: Signals | None, parameters: Sequence[Tensor]) -> TermLook:
    value, pull, error, follows = None, None, None, None
    try:
        with torch.set_grad_enabled(bool(parameters)):
            result = bound.value(said, taught, 0.0)
        value = float(result.detach())
        if parameters:
            follows = result.requires_grad
            pull = _pull(result, parameters) if follows else 0.0
    except Exception as raised:  # a user's loss raises what it likes; the check of the terms reports it
        error = raised
    return TermLook(
        bound=bound,
        weight=_weight(bound),
        value=value,
        pull=pull,
        error=error,
        said=_signal(said, bound.student, "student", bound),
        taught=_signal(taught, bound.teacher, "teacher", bound) if bound.uses_teacher else None,
        follows=follows,
    )


def _pull(result: Tensor, parameters: Sequence[Tensor]) -> float | None:
    try:
        gradients = torch.autograd.grad(result, list(parameters), retain_graph=True, allow_unused=True)
    except RuntimeError:  # recurrent layers on a GPU give no gradient in eval mode
        return None
    squares = [float(gradient.float().square().sum()) for gradient in gradients if gradient is not None]
    return math.sqrt(sum(squares))


def _weight(bound: BoundTerm) -> float:
    schedule = bound.term.schedule
    factors = [float(schedule(stop)) for stop in STOPS] if schedule is not None else [1.0]
    return bound.term.weight * max(factors, key=abs)


def _signal(signals: Signals | None, names: Any, whose: str, bound: BoundTerm) -> Any:
    if signals is None or bound.is_own:
        return None
    try:
        return lookup(signals, names, whose)
    except DistillationError:
        return None


def tensors(signal: Any) -> list[Tensor]:
    """The tensors in a signal that may be several, however nested."""
    if isinstance(signal, Tensor):
        return [signal]
    if isinstance(signal, (list, tuple)):
        return [tensor for part in signal for tensor in tensors(part)]
    return []
