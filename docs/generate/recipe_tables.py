"""Tables about recipes: sections, training keys, teachers, methods, models, data sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Trainer

import knowledge_distillation as kd
from docs.generate import docstrings
from docs.generate.markdown import code, escaped, table
from docs.generate.signatures import default
from knowledge_distillation.domains.catalogue import data_sets, models
from knowledge_distillation.recipes import reading
from knowledge_distillation.recipes.methods import METHODS
from knowledge_distillation.recipes.sources import SOURCES
from knowledge_distillation.ways import born_again, distill_data_free, mutual, teach_in_turn

TRAINING: Mapping[str, str] = {
    "track": "trackers besides the CSV file; `kd list trackers` shows them.",
    "directory": "where the run is written; `--directory` wins over it.",
    "trainer": "any further argument of `lightning.Trainer`, as a mapping.",
    "callbacks": "what goes on beside the training, a list of names with settings, such as `on_policy`; see "
    "[Distil a language model](language.md#let-the-student-write).",
    "quantisation_aware": "true, or settings such as {bits: 8}: while it learns, the student rounds as its int8 "
    "file will; see [Ship it](export.md).",
}
"""Training keys whose meaning differs from the argument of `distill` with the same name."""
METHOD_IS: Mapping[str, Callable[..., Any]] = {
    "distill": kd.distill,
    "assistants": teach_in_turn,
    "born_again": born_again,
    "mutual": mutual,
    "data_free": distill_data_free,
}
"""Method -> the function behind it."""
NOT_WRITTEN = ("self", "job", "teachers", "teacher", "student", "adapter", "val_loaders", "channels", "size")
NOT_PLAIN = ("generator", "objective", "pipeline", "optimizer")
"""Parameters that a recipe gives by itself, and those that are no plain data or stand elsewhere in it."""


def sections() -> str:
    """The sections of a recipe."""
    rows = [(code(name), escaped(text)) for name, text in docstrings.read(reading.Recipe).entries("Attributes").items()]
    return table(("Section", "What it holds"), rows)


def training_keys() -> str:
    """Every key of a recipe's training section."""
    arguments = docstrings.read(kd.distill).entries("Args")
    trainer = inspect.signature(Trainer.__init__).parameters
    rows = []
    for key in reading.TRAINING_KEYS:
        if key in reading.TRAINER_KEYS:
            meaning = f"`lightning.Trainer`'s argument of this name; default {code(default(trainer[key].default))}."
        else:
            meaning = TRAINING.get(key) or escaped(arguments[key])
        rows.append((code(key), meaning))
    return table(("Key", "Meaning"), rows)


def shipped() -> str:
    """The recipes that come with the package."""
    rows = [(code(name), escaped(reading.read_recipe(name).description)) for name in reading.shipped()]
    return table(("Recipe", "What it does"), rows)


def sources() -> str:
    """Teachers that a recipe makes of several models, or of the student."""
    rows = []
    for name, source in SOURCES.items():
        settings = [*(["members"] if name in reading.SEVERAL else []), *_settings(source)]
        rows.append((code(name), escaped(docstrings.read(source).summary), ", ".join(map(code, settings))))
    return table(("Name", "What it is", "Settings and defaults"), rows)


def methods() -> str:
    """Ways to be taught that a recipe can name."""
    rows = []
    for name, method in METHODS.items():
        settings = _settings(METHOD_IS[name] if name == "data_free" else method)
        shown = ", ".join(map(code, settings)) or "none"
        rows.append((code(name), escaped(docstrings.read(METHOD_IS[name]).summary), shown))
    return table(("Method", "What it does", "Settings and defaults"), rows)


def _settings(function: Callable[..., Any]) -> list[str]:
    """Names with defaults of what a recipe may set; only names where there is no default worth showing."""
    shown = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in (*NOT_WRITTEN, *NOT_PLAIN) or parameter.kind is parameter.VAR_KEYWORD:
            continue
        required = parameter.default is parameter.empty or parameter.default is None
        shown.append(name if required else f"{name}={default(parameter.default)}")
    return shown


def named_models() -> str:
    """Models that a recipe can name, with their settings."""
    return _named(models())


def named_data() -> str:
    """Data sets that a recipe can name, with their settings."""
    return _named(data_sets())


def _named(things: Mapping[str, Callable[..., Any]]) -> str:
    rows = []
    for name, function in things.items():
        parameters = inspect.signature(function).parameters
        settings = [
            key if parameter.default is parameter.empty else f"{key}={default(parameter.default)}"
            for key, parameter in parameters.items()
        ]
        rows.append((code(name), escaped(docstrings.read(function).summary), ", ".join(map(code, settings))))
    return table(("Name", "What it is", "Settings and defaults"), rows)
