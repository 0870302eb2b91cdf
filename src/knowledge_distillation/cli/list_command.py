"""`kd list WHAT`: everything that has a name."""

from __future__ import annotations

import argparse
import inspect
import json
from typing import Any

KINDS = ("losses", "objectives", "recipes", "optimizers", "schedules", "models", "data", "trackers", "adapters")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd list`."""
    parser.add_argument("what", choices=KINDS, help="what to list")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def run(options: argparse.Namespace) -> None:
    """Print the names with what each is."""
    entries = _entries(options.what)
    if options.json:
        print(json.dumps(entries, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False)
    columns = ("name", "family", "summary", "needs", "learns") if options.what == "losses" else ("name", "summary")
    for column in columns:
        table.add_column(column)
    for entry in entries:
        table.add_row(*(", ".join(entry[key]) if isinstance(entry[key], list) else str(entry[key]) for key in columns))
    Console().print(table)


def _entries(what: str) -> list[dict[str, Any]]:
    if what == "losses":
        from knowledge_distillation.losses import catalogue

        return [entry.as_dict() for entry in catalogue().values()]
    if what == "recipes":
        from knowledge_distillation.recipes.reading import read_recipe, shipped

        return [{"name": name, "summary": read_recipe(name).description} for name in shipped()]
    return [{"name": name, "summary": _summary(value)} for name, value in _named(what).items()]


def _named(what: str) -> dict[str, Any]:
    if what == "objectives":
        from knowledge_distillation.objective.presets import PRESETS

        return dict(PRESETS)
    if what == "optimizers":
        from knowledge_distillation.training.optimizers import OPTIMIZERS

        return dict(OPTIMIZERS)
    if what == "schedules":
        from knowledge_distillation.training.schedules import SCHEDULES

        return {name or '""': schedule or "a constant learning rate" for name, schedule in SCHEDULES.items()}
    if what == "trackers":
        from knowledge_distillation.training.tracking import TRACKERS

        return {name: f"needs the package {package}" for name, (package, _) in TRACKERS.items()}
    if what == "adapters":
        from knowledge_distillation.capture.adapters import ADAPTERS

        return {name: pair[0] for name, pair in ADAPTERS.items()}
    from knowledge_distillation.domains.catalogue import data_sets, models

    return dict(models() if what == "models" else data_sets())


def _summary(value: Any) -> str:
    if isinstance(value, str):
        return value
    settings = getattr(value, "keywords", None)
    if settings is not None:
        return f"{value.func.__name__} with {', '.join(f'{key}={setting}' for key, setting in settings.items())}"
    return (inspect.getdoc(value) or "").partition("\n")[0]
