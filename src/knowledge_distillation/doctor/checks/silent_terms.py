"""Terms that train nothing."""

from __future__ import annotations

from collections.abc import Iterator

from knowledge_distillation.doctor.answers import IGNORED
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.terms import TermLook


def silent_terms(patient: Patient) -> Iterator[Finding]:
    """A term has weight 0, never fires, or carries no gradient."""
    for bound in patient.objective.bound:
        if bound.is_monitor:
            yield Finding(
                "note",
                f"Term {bound.name!r} has weight 0: it is logged and trains nothing.",
                "weight=0.",
                "None, if it is meant as a monitor.",
                "Give it a weight, or leave it out.",
            )
    for look in patient.terms:
        if look.bound.is_monitor or look.error is not None:
            continue
        if look.weight == 0:
            yield Finding(
                "warning",
                f"Term {look.name!r} has weight 0 from start to end.",
                f"weight={look.bound.term.weight:g} times a schedule that is 0 at every quarter of the training.",
                "It trains nothing.",
                "Change the schedule.",
            )
        elif look.follows is False:
            yield Finding(
                "error",
                f"Term {look.name!r} carries no gradient.",
                f"value={look.value:.4g}, requires_grad=False.",
                "It is added to the loss and trains nothing.",
                "Return a tensor with its graph: no .item(), no detach(), no no_grad around the student.",
            )
        elif look.value == 0 and not look.pull and not (look.bound.uses_teacher and patient.models_agree):
            yield from _never(patient, look)


def _never(patient: Patient, look: TermLook) -> Iterator[Finding]:
    counted = labelled = total = 0
    for batch in patient.batches:
        labels = patient.labels_of(batch)
        if labels is not None:
            total += labels.numel()
            labelled += int((labels != IGNORED).sum())
    mask = patient.said.mask
    counted = int(mask.sum()) if mask is not None else -1
    if "labels" in look.bound.needs and labelled > 0:
        return  # it fires in another batch
    unlabelled = "labels" in look.bound.needs and total > 0
    yield Finding(
        "note" if unlabelled and patient.quick else "warning",
        f"Term {look.name!r} does not fire.",
        "value=0 and no gradient on the first batch"
        + (f"; {labelled} of {total} labels count" if unlabelled else "")
        + (f"; {counted} items count by the mask" if counted >= 0 else "")
        + ".",
        "It trains nothing, and its weight is taken from nobody.",
        "Look at what it reads: labels that are all -100, a mask without items, a clamp that always holds.",
    )
