"""Log-probabilities in the place of logits."""

from __future__ import annotations

from collections.abc import Iterator

from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.whose import both_sides
from knowledge_distillation.losses import Loss

TOLERANCE = 2e-3


def log_probabilities(patient: Patient) -> Iterator[Finding]:
    """Log-probabilities are given as logits: losses that compare raw scores see another scale on each side."""
    for whose, signals in both_sides(patient):
        logits = logits_or_none(signals)
        if logits is None or logits.shape[-1] < 2:
            continue
        scores = logits.detach().float()
        axis = 1 if scores.dim() == 4 else -1
        if float(scores.max()) > TOLERANCE or float(scores.logsumexp(dim=axis).abs().max()) > TOLERANCE:
            continue
        touched = [
            bound.name
            for bound in patient.objective.bound
            if bound.uses_teacher
            and bound.student == "logits"
            and (not isinstance(bound.loss, Loss) or "shift_invariant" not in bound.loss.facts.laws())
        ]
        yield Finding(
            "warning" if touched else "note",
            f"The {whose} gives log-probabilities where logits are expected.",
            f"All {scores.numel()} values are at most {float(scores.max()):.2g}, and their exponentials sum to 1; "
            + (f"compared as raw scores by {', '.join(touched)}." if touched else "no term compares raw scores."),
            "Losses with a softmax are indifferent to it; those that compare raw scores pull towards a wrong offset.",
            "Return the scores before log_softmax.",
        )
