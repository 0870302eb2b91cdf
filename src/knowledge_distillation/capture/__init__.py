"""Read inside unmodified models: taps on modules and functions, tables of what can be tapped, pairs of layers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge_distillation.capture.description import describe as describe
    from knowledge_distillation.capture.functions import FunctionTap as FunctionTap
    from knowledge_distillation.capture.pairing import Pair as Pair
    from knowledge_distillation.capture.pairing import pair as pair
    from knowledge_distillation.capture.taps import Taps as Taps
    from knowledge_distillation.capture.taps import tap as tap

_HOMES = {
    "FunctionTap": "functions",
    "Pair": "pairing",
    "Taps": "taps",
    "describe": "description",
    "pair": "pairing",
    "tap": "taps",
}
__all__ = ["FunctionTap", "Pair", "Taps", "describe", "pair", "tap"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
