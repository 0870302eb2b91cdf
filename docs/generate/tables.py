"""Tables of everything that has a name, read from the code; pages ask for them with a comment.

A line `<!-- generated: presets -->` in a page is replaced by what `presets` returns here.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import knowledge_distillation as kd
from docs.generate import docstrings
from docs.generate.markdown import code, escaped, table
from docs.generate.original import original_arguments
from docs.generate.signatures import default, signature
from knowledge_distillation import projectors as projector_module
from knowledge_distillation.capture.adapters import ADAPTERS
from knowledge_distillation.cli import COMMANDS
from knowledge_distillation.domains.catalogue import data_sets, models
from knowledge_distillation.losses import catalogue
from knowledge_distillation.objective.presets import PRESETS
from knowledge_distillation.objective.term import Term
from knowledge_distillation.recipes import reading
from knowledge_distillation.training.optimizers import OPTIMIZERS
from knowledge_distillation.training.schedules import SCHEDULES
from knowledge_distillation.training.tracking import TRACKERS
from knowledge_distillation.training.trainer import Trainer

RECIPE_TRAINING: Mapping[str, str] = {
    "track": "trackers besides the CSV file; see the command line's `kd list trackers`.",
    "directory": "where the run is written; `--directory` wins over it.",
    "trainer": "any further argument of `lightning.Trainer`, as a mapping.",
}
"""Training keys of a recipe whose meaning differs from the argument of `distill` with the same name."""


def filled(markdown: str) -> str:
    """A page with every `<!-- generated: name -->` replaced.

    Raises:
        KeyError: if a page asks for a table that does not exist.
    """
    return re.sub(r"<!-- generated: ([\w-]+) -->", lambda asked: TABLES[asked[1]](), markdown)


def presets() -> str:
    """Every objective by name: its call, what it is, and its terms."""
    return "\n\n".join(_preset(name, function) for name, function in PRESETS.items())


def _preset(name: str, function: Callable[..., Any]) -> str:
    doc = docstrings.read(function)
    parts = [f"## {name}", escaped(doc.summary, _losses()), *(escaped(text, _losses()) for text in doc.description)]
    if inspect.signature(function).parameters:
        parts.append(f"```py\n{signature(name, function, returns=False)}\n```")
    if doc.entries("Args"):
        rows = [(code(argument), escaped(text, _losses())) for argument, text in doc.entries("Args").items()]
        parts.append(table(("Argument", "Meaning"), rows))
    try:
        terms = function()
    except TypeError:  # it needs arguments
        terms = None
    if isinstance(terms, Mapping) and all(isinstance(term, Term) for term in terms.values()):
        rows = [(code(term), *_term(value)) for term, value in terms.items()]
        parts.append(table(("Term", "Loss", "Weight", "Student's signal", "Teacher's signal"), rows))
    if doc.text("Reference"):
        parts.append("Reference: " + escaped(doc.text("Reference")))
    return "\n\n".join(parts)


def _term(term: Term) -> tuple[str, str, str, str]:
    by_module = {entry.module.__name__: entry.name for entry in catalogue().values()}
    if isinstance(term.loss, str):
        name, settings = term.loss, {}
    else:
        name = by_module.get(type(term.loss).__name__, type(term.loss).__name__)
        settings = {key: value for key, value in vars(term.loss).items() if not key.startswith("_")}
    shown = f"[`{name}`]({_losses()[name]})" if name in catalogue() else code(name)
    told = [code(f"{key}={default(value)}") for key, value in settings.items() if key not in ("training", "reduction")]
    shown += " with " + ", ".join(told) if told else ""
    student, teacher = (
        code(side if isinstance(side, str) else ", ".join(side)) for side in (term.student, term.teacher)
    )
    return shown, f"{term.weight:.4g}", student, teacher


def optimizers() -> str:
    """Optimisers by name."""
    return table(("Name", "What it is"), [(code(name), _factory(value)) for name, value in OPTIMIZERS.items()])


def _factory(value: Any) -> str:
    if isinstance(value, partial):
        settings = ", ".join(f"{key}={default(setting)}" for key, setting in value.keywords.items())
        return f"`torch.optim.{value.func.__name__}` with `{settings}`"
    return f"`torch.optim.{value.__name__}`"


def schedules() -> str:
    """Learning-rate schedules by name."""
    rows = [
        (code(f'"{name}"'), escaped(docstrings.read(value).summary) if value else "A constant learning rate.")
        for name, value in SCHEDULES.items()
    ]
    return table(("Name", "What it does"), rows)


def trackers() -> str:
    """Trackers by name and the package each needs."""
    return table(
        ("Name", "Package", "Install"),
        [(code(name), code(package), f"`pip install '.[{name}]'`") for name, (package, _) in TRACKERS.items()],
    )


def adapters() -> str:
    """Adapters by name, with their rules."""
    rows = []
    for name, pair in ADAPTERS.items():
        for side, function in zip(("student", "teacher"), pair, strict=True):
            if pair[0] is not pair[1] or side == "student":
                whose = "both" if pair[0] is pair[1] else side
                rows.append((code(name), whose, escaped(docstrings.read(function).summary)))
    return table(("Name", "For", "What it does"), rows)


def projectors() -> str:
    """What each projector name stands for, as `projectors.build` says it."""
    names = docstrings.read(projector_module.build).entries("Args")["name"]
    return f"{escaped(names)}\n\n{escaped(docstrings.read(projector_module.choose).description[0])}"


def named_models() -> str:
    """Models that a recipe can name, with their settings."""
    return _named(models())


def named_data() -> str:
    """Data sets that a recipe can name, with their settings."""
    return _named(data_sets())


def _named(things: Mapping[str, Callable[..., Any]]) -> str:
    rows = []
    for name, function in things.items():
        settings = ", ".join(
            f"{key}={default(parameter.default)}" for key, parameter in inspect.signature(function).parameters.items()
        )
        rows.append((code(name), escaped(docstrings.read(function).summary), code(settings)))
    return table(("Name", "What it is", "Settings and defaults"), rows)


def recipes() -> str:
    """The shipped recipes."""
    rows = [(code(name), escaped(reading.read_recipe(name).description)) for name in reading.shipped()]
    return table(("Recipe", "What it does"), rows)


def training_keys() -> str:
    """Every key of a recipe's training section."""
    arguments = docstrings.read(kd.distill).entries("Args")
    trainer = inspect.signature(Trainer.__init__).parameters
    rows = []
    for key in reading.TRAINING_KEYS:
        if key in reading.TRAINER_KEYS:
            meaning = f"`lightning.Trainer`'s argument of this name; default {code(default(trainer[key].default))}."
        else:
            meaning = RECIPE_TRAINING.get(key) or escaped(arguments[key])
        rows.append((code(key), meaning))
    return table(("Key", "Meaning"), rows)


def recipe_sections() -> str:
    """The sections of a recipe, from `Recipe`."""
    rows = [(code(name), escaped(text)) for name, text in docstrings.read(reading.Recipe).entries("Attributes").items()]
    return table(("Section", "What it holds"), rows)


def commands() -> str:
    """Every command with its options, from the parser itself."""
    parts = []
    for name, summary in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"kd {name}", add_help=False)
        importlib.import_module(f"knowledge_distillation.cli.{name}_command").add_arguments(parser)
        rows = [(_option(action), escaped((action.help or "").replace("%%", "%"))) for action in parser._actions]
        options = table(("Option", "Meaning"), rows)
        parts.append(f"## kd {name}\n\n{escaped(summary[0].upper() + summary[1:])}.\n\n{options}")
    return "\n\n".join(parts)


def _option(action: argparse.Action) -> str:
    name = action.option_strings[-1] if action.option_strings else action.dest.upper()
    if action.choices:
        return f"`{name}`: " + ", ".join(f"`{choice}`" for choice in action.choices)
    taken = "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
    return code(name + taken)


def distill_signature() -> str:
    """The call of `kd.distill`."""
    return f"```py\n{signature('kd.distill', kd.distill)}\n```"


def distill_arguments() -> str:
    """The arguments of `kd.distill`."""
    rows = [(code(name), escaped(text)) for name, text in docstrings.read(kd.distill).entries("Args").items()]
    return table(("Argument", "Meaning"), rows)


def term_arguments() -> str:
    """The fields of a `Term`."""
    rows = [(code(name), escaped(text)) for name, text in docstrings.read(kd.Term).entries("Args").items()]
    return table(("Field", "Meaning"), rows)


def signals_fields() -> str:
    """The fields of `Signals`."""
    rows = [(code(name), escaped(text)) for name, text in docstrings.read(kd.Signals).entries("Attributes").items()]
    return table(("Field", "Meaning"), rows)


def _losses() -> dict[str, str]:
    return {name: f"losses/{name}.md" for name in catalogue()}


TABLES: Mapping[str, Callable[[], str]] = {
    "loss-count": lambda: str(len(catalogue())),
    "presets": presets,
    "optimizers": optimizers,
    "schedules": schedules,
    "trackers": trackers,
    "adapters": adapters,
    "projectors": projectors,
    "models": named_models,
    "data": named_data,
    "recipes": recipes,
    "recipe-sections": recipe_sections,
    "training-keys": training_keys,
    "commands": commands,
    "distill-signature": distill_signature,
    "distill-arguments": distill_arguments,
    "term-arguments": term_arguments,
    "signals-fields": signals_fields,
    "original-arguments": original_arguments,
}
