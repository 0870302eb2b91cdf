"""The public names of each module and the arguments they take. `python -m tests.guards.surface` freezes them anew."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

FROZEN = Path(__file__).parent / "api_surface.json"
MODULES = (
    "knowledge_distillation",
    "knowledge_distillation.losses",
    "knowledge_distillation.capture",
    "knowledge_distillation.objective",
    "knowledge_distillation.teachers",
    "knowledge_distillation.students",
    "knowledge_distillation.evaluation",
    "knowledge_distillation.doctor",
    "knowledge_distillation.export",
    "knowledge_distillation.reporting",
    "knowledge_distillation.kd_training",
)


def public_names(module: ModuleType) -> list[str]:
    """What `__all__` says; without it, the functions and classes that a package re-exports or a module defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    own = module.__name__ if not hasattr(module, "__path__") else "knowledge_distillation."
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith(own)
    )


def arguments(value: Any) -> str:
    """The parameters of a function or of a class's constructor, in order, keyword-only ones after '*'."""
    is_error = inspect.isclass(value) and issubclass(value, Exception)
    if not callable(value) or is_error or getattr(value, "_is_protocol", False):
        return ""
    names: list[str] = []
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        names.append(parameter.name)
    return ", ".join(names)


def surface() -> dict[str, dict[str, str]]:
    """Module -> public name -> arguments."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(name)
        found[name] = {entry: arguments(getattr(module, entry)) for entry in public_names(module)}
    return found


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(surface(), indent=1) + "\n", encoding="utf-8")
