"""`kd list WHAT`: everything that has a name."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

KINDS = (
    "losses",
    "objectives",
    "recipes",
    "optimizers",
    "schedules",
    "models",
    "data",
    "trackers",
    "adapters",
    "encodings",
    "exports",
)


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
        table.add_column(column, no_wrap=column == "name", overflow="fold")
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
    summary = _terms if what == "objectives" else _summary
    return [{"name": name, "summary": summary(value)} for name, value in _named(what).items()]


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
    if what == "encodings":
        from knowledge_distillation.teachers.cache import ENCODINGS

        return dict(ENCODINGS)
    if what == "exports":
        from knowledge_distillation.export import FORMS

        return {name: form.summary for name, form in FORMS.items()}
    if what == "adapters":
        from knowledge_distillation.capture.adapters import ADAPTERS

        return {name: pair[0] for name, pair in ADAPTERS.items()}
    from knowledge_distillation.domains.catalogue import data_sets, models

    return dict(models() if what == "models" else data_sets())


def _terms(preset: Callable[[], Mapping[str, Any]]) -> str:
    """What an objective adds up, read from the terms themselves, such as "cross_entropy + 100 x hint on @middle"."""
    parts = []
    for name, term in preset().items():
        weight = "" if term.weight == 1 else f"{term.weight:g} x "
        places = [term.student] if isinstance(term.student, str) else term.student
        parts.append(f"{weight}{name}" + ("" if name == "cross_entropy" else f" on {' and '.join(places)}"))
    own_words = "" if isinstance(preset, partial) else (inspect.getdoc(preset) or "").partition("\n")[0]
    return " + ".join(parts) + (f": {own_words}" if own_words else "")


def _summary(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, partial):
        given = [*map(str, value.args), *(f"{key}={setting}" for key, setting in value.keywords.items())]
        return f"{_summary(value.func).rstrip('.')}: {', '.join(given)}"
    return (inspect.getdoc(value) or "").partition("\n")[0] or getattr(value, "__name__", type(value).__name__)
