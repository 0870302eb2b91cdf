"""Layers that say nothing."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from knowledge_distillation.capture.reader import WEIGHT
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.terms import tensors
from knowledge_distillation.objective.binding import each


def tapped_layers(patient: Patient) -> Iterator[Finding]:
    """A layer that a term reads is dead (all zero) or constant (the same for every item)."""
    told: set[tuple[str, str]] = set()
    for look in patient.terms:
        for whose, signal, names in (
            ("student", look.said, each(look.bound.student)),
            ("teacher", look.taught, each(look.bound.teacher)),
        ):
            if look.reads_logits or look.bound.is_own or any(name.startswith(WEIGHT) for name in names):
                continue
            found = tensors(signal)
            for place, tensor in enumerate(found):
                name = names[place] if len(names) == len(found) else ", ".join(names)
                what = _silence(tensor)
                if what is not None and (whose, name) not in told:
                    told.add((whose, name))
                    yield Finding(
                        "warning",
                        f"The {whose}'s layer {name!r} is {what}.",
                        f"Shape {tuple(tensor.shape)}, from {float(tensor.min()):.3g} to {float(tensor.max()):.3g}; "
                        f"largest deviation between items {float(tensor.float().std(dim=0).max()):.2g}.",
                        f"Term {look.name!r} compares with something that says nothing about the input.",
                        "Name a layer before it, or look for a dead activation, a saturated gate or a wrong scale.",
                    )


def _silence(tensor: Tensor) -> str | None:
    if tensor.dim() < 2 or len(tensor) < 2 or not tensor.is_floating_point():
        return None
    values = tensor.detach().float()
    largest = float(values.abs().max())
    if largest == 0:
        return "dead: it gives 0 for every item"
    return "constant: it gives the same for every item" if float(values.std(dim=0).max()) < 1e-6 * largest else None
