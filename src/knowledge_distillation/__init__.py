"""Knowledge distillation for PyTorch: a teacher and data go in, a smaller student that is proven good comes out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge_distillation import (
        capture,
        doctor,
        errors,
        evaluation,
        export,
        losses,
        objective,
        projectors,
        reporting,
        signals,
        students,
        teachers,
        training,
    )
    from knowledge_distillation.errors import DistillationError
    from knowledge_distillation.objective import Objective, Term
    from knowledge_distillation.run import Run, distill
    from knowledge_distillation.signals import Signals
    from knowledge_distillation.training.module import DistillationModule

_NAMES = {
    "distill": "run",
    "Run": "run",
    "DistillationModule": "training.module",
    "Objective": "objective",
    "Term": "objective",
    "Signals": "signals",
    "DistillationError": "errors",
}
_ROOMS = (
    "capture",
    "doctor",
    "errors",
    "evaluation",
    "export",
    "losses",
    "objective",
    "projectors",
    "reporting",
    "signals",
    "students",
    "teachers",
    "training",
)
__all__ = sorted([*_NAMES, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
