"""Classes that teacher and labels number differently."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from knowledge_distillation.doctor.answers import Answers, joined
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient

FEWEST = 48
LEAST_GAIN, ERRORS = 0.1, 4.0


def label_order(patient: Patient) -> Iterator[Finding]:
    """The teacher's classes are in another order than the labels: renaming its answers makes it far better.

    A renaming is made on every second item, by giving each class of the teacher the label that it meets most often,
    and judged on the others, so that chance finds none.
    """
    patient.teacher_stands_alone()
    answers = _everywhere(patient)
    if len(answers) < FEWEST:
        raise CannotTell(f"only {len(answers)} labelled items were looked at")
    classes = max(answers.classes, int(answers.labels.max()) + 1)
    tried = {"renamed": _renaming(answers, classes), **_shifts(answers, classes)}
    held_labels, held = answers.labels[1::2], answers.predicted[1::2]
    plain = held == held_labels
    scores = {name: names[held] == held_labels for name, names in tried.items()}
    name = max(scores, key=lambda key: int(scores[key].sum()))
    right = scores[name]
    gained, lost = int((right & ~plain).sum()), int((plain & ~right).sum())
    gain, after = (gained - lost) / len(held), float(right.float().mean())
    if gain >= LEAST_GAIN and after > answers.majority + 0.15 and gained - lost > ERRORS * (gained + lost) ** 0.5:
        moved = [(old, int(new)) for old, new in enumerate(tried[name]) if old != int(new)]
        listed = ", ".join(f"{old} -> {new}" for old, new in moved[:8]) + (", ..." if len(moved) > 8 else "")
        yield Finding(
            "error",
            "The teacher's classes are in another order than the labels.",
            f"Accuracy {float(plain.float().mean()):.3f} as they stand, {after:.3f} with the teacher's classes {name} "
            f"({listed}), on {len(held)} items that the renaming was not made from.",
            "The labels and the teacher contradict each other, and one of them teaches the student the wrong class.",
            "Reorder the rows of the teacher's last layer, or map the labels: both sides need one list of classes.",
        )


def _everywhere(patient: Patient) -> Answers:
    parts = []
    for where in ("validation", "batches"):
        try:
            parts.append(patient.answers("teacher", where))
        except CannotTell as reason:
            why = reason
    if not parts:
        raise why
    return joined(parts)


def _renaming(answers: Answers, classes: int) -> Tensor:
    """New name of each of the teacher's classes, one to one, the commonest pairs first; shape [classes]."""
    pairs, counts = torch.unique(answers.predicted[::2] * classes + answers.labels[::2], return_counts=True)
    names: dict[int, int] = {}
    free = dict.fromkeys(range(classes))
    for pair in pairs[counts.argsort(descending=True, stable=True)].tolist():
        row, column = divmod(pair, classes)
        if row not in names and column in free:
            names[row] = column
            del free[column]
    for row in [row for row in free if row not in names]:  # where nothing is known, the name stays
        names[row] = row
        del free[row]
    names.update(zip([row for row in range(classes) if row not in names], list(free), strict=True))
    return torch.tensor([names[row] for row in range(classes)])


def _shifts(answers: Answers, classes: int) -> dict[str, Tensor]:
    """The commonest shift of all classes by one number, which few items are enough to see; none if that is 0."""
    shift = int(torch.bincount((answers.labels[::2] - answers.predicted[::2]) % classes, minlength=classes).argmax())
    return {f"shifted by {shift}": (torch.arange(classes) + shift) % classes} if shift else {}
