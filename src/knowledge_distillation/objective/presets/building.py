"""What presets are made of: cross-entropy beside one loss, and losses named with their settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knowledge_distillation.losses import CrossEntropy
from knowledge_distillation.objective.term import ALL, OWN, SignalName, Term, named_loss

Terms = dict[str, Term]
Preset = Callable[[], Terms]


def mixed(name: str, soft_weight: float, hard_weight: float, **settings: Any) -> Terms:
    """hard_weight x CE + soft_weight x one loss on the logits."""
    return {
        "cross_entropy": Term(CrossEntropy(), weight=hard_weight),
        name: Term(named_loss(name, settings), weight=soft_weight),
    }


def beside_labels(
    name: str, weight: float, place: SignalName, projector: str | None = None, teacher: SignalName = "", **settings: Any
) -> Terms:
    """CE + weight x one loss between the layers that play a role; `teacher` where it is another one there."""
    loss = named_loss(name, settings)
    return {
        "cross_entropy": Term(CrossEntropy()),
        name: Term(loss, weight, place, teacher or place, projector),
    }


def alone(
    name: str, place: SignalName = "logits", weight: float = 1.0, projector: str | None = None, **settings: Any
) -> Terms:
    """One loss and nothing else."""
    return {name: Term(named_loss(name, settings), weight, place, place, projector)}


def beside_own(name: str, weight: float, place: SignalName, projector: str | None = None, **settings: Any) -> Terms:
    """Every loss that the student computes itself, as detectors do, + weight x one loss."""
    return {
        "task": Term(OWN, student=ALL),
        name: Term(named_loss(name, settings), weight, place, place, projector),
    }
