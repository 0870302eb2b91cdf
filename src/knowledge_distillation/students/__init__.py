"""Students made from a teacher; loaded when they are asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge_distillation.students.configured import from_config as from_config
    from knowledge_distillation.students.factorising import LowRankConv as LowRankConv
    from knowledge_distillation.students.factorising import LowRankLinear as LowRankLinear
    from knowledge_distillation.students.factorising import factorise as factorise
    from knowledge_distillation.students.layers import keep_layers as keep_layers
    from knowledge_distillation.students.layers import kept_indices as kept_indices
    from knowledge_distillation.students.narrowing import narrow as narrow
    from knowledge_distillation.students.searching import LayerSearch as LayerSearch
    from knowledge_distillation.students.searching import search_layers as search_layers
    from knowledge_distillation.students.targets import Proposal as Proposal
    from knowledge_distillation.students.targets import to_target as to_target

_HOMES = {
    "LayerSearch": "searching",
    "LowRankConv": "factorising",
    "LowRankLinear": "factorising",
    "Proposal": "targets",
    "factorise": "factorising",
    "from_config": "configured",
    "keep_layers": "layers",
    "kept_indices": "layers",
    "narrow": "narrowing",
    "search_layers": "searching",
    "to_target": "targets",
}
__all__ = [
    "LayerSearch",
    "LowRankConv",
    "LowRankLinear",
    "Proposal",
    "factorise",
    "from_config",
    "keep_layers",
    "kept_indices",
    "narrow",
    "search_layers",
    "to_target",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
