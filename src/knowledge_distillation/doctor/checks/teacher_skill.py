"""A teacher that has nothing to teach on this data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from knowledge_distillation.doctor.answers import Answers
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient

FEWEST = 24
FEWEST_APART = 8
"""Items that only one of the two has right; of fewer, a teacher that is better often wins no more than half."""
BARELY = 0.1
"""Of the way from chance to certainty; an untrained network comes so far by luck."""
HARM = "The student would learn to be wrong in the same way; without a teacher it would do better."


def teacher_skill(patient: Patient) -> Iterator[Finding]:
    """The teacher is no better than chance, or than the student, on this data."""
    patient.teacher_stands_alone()
    where = labelled_place(patient)
    taught, truth = teacher_values(patient, where), patient.labels_of(getattr(patient, where)[0])
    if truth is not None and truth.is_floating_point():
        yield from _of_values(patient, where, taught, truth)
        return
    answers = patient.answers("teacher", where)
    if len(answers) < FEWEST:
        raise CannotTell(f"only {len(answers)} labelled items were looked at")
    told = f"accuracy {answers.accuracy:.3f} on {len(answers)} items of {_name(where)}"
    chance = max(answers.majority, 1 / answers.classes)
    if answers.accuracy <= chance + 2 * answers.error(chance) and not _beats_classes(answers):
        yield Finding(
            "error" if len(answers) >= 100 else "warning",
            "The teacher is no better than chance on this data.",
            f"Teacher: {told}; the commonest class alone reaches {answers.majority:.3f}.",
            HARM,
            "Load the teacher's weights, look at the preprocessing that it expects, and at the order of its classes.",
        )
        return
    if answers.accuracy < chance + BARELY * (1 - chance):
        yield Finding(
            "warning",
            "The teacher is hardly better than chance on this data.",
            f"Teacher: {told}; chance is {chance:.3f}.",
            HARM,
            "Load the teacher's weights, look at the preprocessing that it expects, and at the order of its classes.",
        )
        return
    yield from _beside_student(patient, where, answers, told)


def _beside_student(patient: Patient, where: str, answers: Answers, told: str) -> Iterator[Finding]:
    own = patient.answers("student", where)
    if len(own) != len(answers) or own.accuracy <= own.majority + 3 * own.error(own.majority):
        return
    better = int((own.right & ~answers.right).sum())
    worse = int((answers.right & ~own.right).sum())
    sure = better - worse > 2 * max(better + worse, 1) ** 0.5
    often = better + worse >= FEWEST_APART and better + worse > 0.05 * len(own)
    if sure or (often and better >= worse):
        yield Finding(
            "warning",
            "The teacher is no better than the student already is.",
            f"Teacher: {told}; student: {own.accuracy:.3f} on the same items ({better} that only the student has "
            f"right, {worse} that only the teacher has).",
            "What the teacher adds is mostly its mistakes.",
            "Use a better teacher, or train the student on the labels.",
        )


def _of_values(patient: Patient, where: str, taught: Tensor | None, truth: Tensor) -> Iterator[Finding]:
    said = logits_or_none(patient.student_on(where, 0))
    if taught is None or taught.numel() != truth.numel() or truth.numel() < FEWEST:
        raise CannotTell("the teacher's answers and the labels have no common form")
    truth = truth.float().flatten().cpu()
    guess = float((truth - truth.mean()).square().mean())
    error = float((taught.float().flatten().cpu() - truth).square().mean())
    if set(torch.unique(truth).tolist()) <= {0.0, 1.0}:
        raise CannotTell("the labels are independent yes-or-no answers")
    if error >= (1 - BARELY) * guess:
        yield Finding(
            "error" if truth.numel() >= 100 else "warning",
            "The teacher is no better, or hardly better, than the mean of the labels.",
            f"Teacher's mean squared error {error:.4g} on {truth.numel()} values of {_name(where)}; the mean's is "
            f"{guess:.4g}.",
            HARM,
            "Look at the scale of inputs and targets that the teacher was trained with.",
        )
    elif said is not None and said.numel() == truth.numel():
        own = float((said.float().flatten().cpu() - truth).square().mean())
        if own < 0.95 * error:
            yield Finding(
                "warning",
                "The teacher is no better than the student already is.",
                f"Mean squared error: teacher {error:.4g}, student {own:.4g}, on {truth.numel()} values.",
                "What the teacher adds is mostly its mistakes.",
                "Use a better teacher, or train the student on the labels.",
            )


def _beats_classes(answers: Answers) -> bool:
    """Whether the mean of the classes' recalls is above chance, as it is for a good model of uneven classes."""
    present = torch.unique(answers.labels)
    recalls = torch.stack([answers.right[answers.labels == category].float().mean() for category in present])
    chance = 1 / len(present)
    return len(present) > 1 and float(recalls.mean()) > chance + 3 * answers.error(chance)


def labelled_place(patient: Patient) -> str:
    """Where answers can be compared with labels: "validation" if it has any and the teacher answers it, else "batches".

    Raises:
        CannotTell: if there are no labels.
    """
    for where in ("validation", "batches"):
        try:
            batches = getattr(patient, where)
            if patient.labels_of(batches[0]) is not None and patient.teacher_on(where, 0) is not None:
                return where
        except CannotTell:
            continue
    if patient.labels is not None:
        _ = patient.taught  # says why the teacher does not answer
    raise CannotTell("the batches carry no labels")


def teacher_values(patient: Patient, where: str) -> Tensor | None:
    """The teacher's logits on the first batch there."""
    return logits_or_none(patient.teacher_on(where, 0))


def _name(where: str) -> str:
    return "the training data" if where == "batches" else "validation"
