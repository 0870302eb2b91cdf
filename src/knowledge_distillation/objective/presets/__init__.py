"""Objectives by name, one for each published method, with the weights of its paper or of its authors' code.

Where a method works inside the models, its layers are named by role ("@stages", "@last", "@preactivations",
"@attention", ...) and looked up in the models themselves before training; settings that are "auto" are read there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses import Loss, catalogue
from knowledge_distillation.objective.objective import Objective
from knowledge_distillation.objective.presets.building import Preset, Terms
from knowledge_distillation.objective.presets.dense import DENSE
from knowledge_distillation.objective.presets.features import FEATURES
from knowledge_distillation.objective.presets.language import LANGUAGE, gold
from knowledge_distillation.objective.presets.logits import LOGITS, hinton
from knowledge_distillation.objective.presets.relations import RELATIONS
from knowledge_distillation.objective.presets.transformers import TRANSFORMERS
from knowledge_distillation.objective.term import Term

__all__ = ["FAMILIES", "PRESETS", "Preset", "Terms", "as_objective", "gold", "hinton"]

FAMILIES: Mapping[str, Mapping[str, Preset]] = {
    "What classifiers answer": LOGITS,
    "Feature maps": FEATURES,
    "Relations and embeddings": RELATIONS,
    "Segmentation and detection": DENSE,
    "Inside transformers": TRANSFORMERS,
    "Sequences and language models": LANGUAGE,
}
PRESETS: Mapping[str, Preset] = {name: make for family in FAMILIES.values() for name, make in family.items()}


def as_objective(objective: Objective | Mapping[str, Any] | Term | Loss | str) -> Objective:
    """An `Objective` from a preset's name, a loss's name, a loss, a term, or named terms.

    Args:
        objective: a mapping may hold "balance": "gradient_norm" or "uncertainty" beside its terms.

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
        terms = dict(objective)
        balance = terms.pop("balance", None)
        return Objective(terms, balance=balance)
    if isinstance(objective, (Term, Loss)):
        return Objective({"distillation": objective})
    raise ConfigError(
        f"objective must be a name, a dict of terms, a Term, a Loss or an Objective; got {type(objective).__name__}."
    )
