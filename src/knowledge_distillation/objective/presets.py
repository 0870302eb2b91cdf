"""Objectives by name, with their papers' weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses import KD, CrossEntropy, Loss, catalogue
from knowledge_distillation.objective.objective import Objective
from knowledge_distillation.objective.term import Term


def hinton(alpha: float = 0.9, temperature: float = 4.0) -> dict[str, Term]:
    """Hinton, Vinyals, Dean (2015): alpha of the soft term, 1 - alpha of the labels."""
    return {"kd": Term(KD(temperature), weight=alpha), "cross_entropy": Term(CrossEntropy(), weight=1 - alpha)}


def soft() -> dict[str, Term]:
    """The teacher alone, for data without labels."""
    return {"kd": Term(KD(4.0))}


def labels() -> dict[str, Term]:
    """The labels alone: the control that shows what the teacher is worth."""
    return {"cross_entropy": Term(CrossEntropy())}


PRESETS: Mapping[str, Callable[[], dict[str, Term]]] = {"kd": hinton, "soft": soft, "labels": labels}


def as_objective(objective: Objective | Mapping[str, Any] | Term | Loss | str) -> Objective:
    """An `Objective` from a preset's name, a loss's name, a loss, a term, or named terms.

    Raises:
        ConfigError: if the name is neither a preset nor a loss, or the value has another type.
    """
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str):
        if objective in PRESETS:
            return Objective(PRESETS[objective]())
        if objective in catalogue():
            return Objective({objective: objective})
        raise ConfigError(
            f"There is no objective or loss named {objective!r}. {nearest(objective, [*PRESETS, *catalogue()])}"
        )
    if isinstance(objective, Mapping):
        return Objective(objective)
    if isinstance(objective, (Term, Loss)):
        return Objective({"distillation": objective})
    raise ConfigError(
        f"objective must be a name, a dict of terms, a Term, a Loss or an Objective; got {type(objective).__name__}."
    )
