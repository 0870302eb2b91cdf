"""A softmax over the wrong axis."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from knowledge_distillation.capture.adapters import GIVEN_PROB
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.whose import both_sides
from knowledge_distillation.signals import Signals

TOLERANCE = 0.01


def softmax_axis(patient: Patient) -> Iterator[Finding]:
    """Probabilities are normalised over another axis than the classes, as over the batch in softmax(dim=0)."""
    for whose, signals in both_sides(patient):
        for name, shares in _probabilities(signals):
            axis = _other_axis(shares)
            if axis is None:
                continue
            sums = shares.sum(dim=-1)
            what = "the batch" if axis == 0 else "the steps" if axis == 1 and shares.dim() == 3 else f"axis {axis}"
            yield Finding(
                "error",
                f"The {whose}'s {name} are normalised over {what} (dim={axis}), not over the classes.",
                f"Sums over dim={axis} are 1; over the classes they are {float(sums.min()):.3g} to "
                f"{float(sums.max()):.3g}, shape {tuple(shares.shape)}.",
                "The student would learn which item is most typical of a class, not which class an item has.",
                "Use softmax(..., dim=-1).",
            )
            break


def _probabilities(signals: Signals) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in (
        ("probabilities", signals.features.get(GIVEN_PROB)),
        ("log-probabilities", signals.log_probs),
        ("logits", signals.logits),
    ):
        if not isinstance(tensor, Tensor) or tensor.dim() < 2:
            continue
        values = tensor.detach().float()
        if name != "log-probabilities":
            yield name, values
        yield name, values.exp()


def _other_axis(shares: Tensor) -> int | None:
    """The axis along which all sums are 1, if it is not the one of the classes."""
    if not bool(((shares >= -TOLERANCE) & (shares <= 1 + TOLERANCE)).all()):
        return None
    classes = {shares.dim() - 1} | ({1} if shares.dim() == 4 else set())
    for axis in classes:
        if bool(((shares.sum(dim=axis) - 1).abs() < TOLERANCE).all()):
            return None
    for axis in range(shares.dim()):
        if (
            axis not in classes
            and shares.shape[axis] > 1
            and bool(((shares.sum(dim=axis) - 1).abs() < TOLERANCE).all())
        ):
            return axis
    return None
