"""A good teacher on data that it was not made for: the teacher that hurts."""

from __future__ import annotations

from collections.abc import Iterator

from knowledge_distillation.doctor.answers import Answers
from knowledge_distillation.doctor.checks.teacher_skill import labelled_place
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient

FEWEST = 64
LEAST_GAP, LEAST_GAP_ELSEWHERE, LEAST_GAP_ALONE = 0.06, 0.04, 0.15
"""How much surer than right: on the training data, then on validation beside it, and on validation alone."""
FIX = (
    "Give it the very inputs that it was trained on: the same decoding, size, normalisation and channel order; or "
    "train it on this data for a few epochs before. Compare with a control without the teacher."
)
HARM = (
    "It is confidently wrong where it never was in training, and the student copies that: distillation then does worse "
    "than the labels alone."
)


def teacher_fit(patient: Patient) -> Iterator[Finding]:
    """The teacher does worse on this data than it is known for, or is much surer than it is right.

    A network that has learnt the training data is about as right there as it is sure, however overconfident it is
    elsewhere. One that was trained on other renderings of the data (another compression, blur, normalisation) stays
    sure and is wrong: on the training data too, which is how the two are told apart.
    """
    patient.teacher_stands_alone()
    place = labelled_place(patient)
    answers = patient.answers("teacher", place)
    if len(answers) < FEWEST:
        raise CannotTell(f"only {len(answers)} labelled items were looked at")
    known = patient.plan.teacher_score
    if known is not None:
        lost = known - answers.accuracy
        if lost > max(0.03, 3 * answers.error()):
            yield Finding(
                "error" if lost > 0.2 else "warning",
                "The teacher is worse on this data than it is known to be.",
                f"Known score {known:.3f}; accuracy here {answers.accuracy:.3f} on {len(answers)} items.",
                HARM,
                FIX,
            )
            return
    trained = _where(patient, "batches")
    other = answers if place == "validation" else None
    if trained is None:
        unfit = _gap(answers) >= LEAST_GAP_ALONE and _is_sure(answers, 4)
    else:
        elsewhere = other is None or _gap(other) >= LEAST_GAP_ELSEWHERE
        unfit = _gap(trained) >= LEAST_GAP and _is_sure(trained, 3) and elsewhere
    if unfit and (trained or answers).accuracy > 1.5 * (trained or answers).majority:
        told = [f"{name}: confidence {float(part.confidence.mean()):.3f}, accuracy {part.accuracy:.3f} on {len(part)} "
                f"items" for name, part in (("training data", trained), ("validation", other)) if part]  # fmt: skip
        yield Finding(
            "warning",
            "The teacher is much surer than it is right: it was probably trained on other data or other preprocessing.",
            "; ".join(told or [f"confidence {float(answers.confidence.mean()):.3f}, accuracy {answers.accuracy:.3f}"])
            + ".",
            HARM,
            FIX,
        )


def _where(patient: Patient, where: str) -> Answers | None:
    try:
        answers = patient.answers("teacher", where)
    except CannotTell:
        return None
    return answers if len(answers) >= FEWEST else None


def _gap(answers: Answers) -> float:
    return float(answers.confidence.mean()) - answers.accuracy


def _is_sure(answers: Answers, errors: float) -> bool:
    return _gap(answers) > errors * answers.error()
