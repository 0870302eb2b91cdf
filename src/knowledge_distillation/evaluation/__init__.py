"""Evaluation: what the student reaches, what it costs, and whether the teacher helped."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge_distillation.evaluation.comparison import Comparison as Comparison
    from knowledge_distillation.evaluation.comparison import compare as compare
    from knowledge_distillation.evaluation.comparison import compare_scores as compare_scores
    from knowledge_distillation.evaluation.cost import Cost as Cost
    from knowledge_distillation.evaluation.cost import measure_cost as measure_cost
    from knowledge_distillation.evaluation.evaluating import evaluate as evaluate
    from knowledge_distillation.evaluation.result import Evaluation as Evaluation

_HOMES = {
    "Comparison": "comparison",
    "Cost": "cost",
    "Evaluation": "result",
    "compare": "comparison",
    "compare_scores": "comparison",
    "evaluate": "evaluating",
    "measure_cost": "cost",
}
__all__ = ["Comparison", "Cost", "Evaluation", "compare", "compare_scores", "evaluate", "measure_cost"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
