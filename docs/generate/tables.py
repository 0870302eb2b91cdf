"""Tables of everything that has a name, read from the code; pages ask for them with a comment.

A comment `<!-- generated: presets -->` in a page is replaced by what `TABLES["presets"]` returns.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import knowledge_distillation as kd
from docs.generate import cached, docstrings, domains, lm_loss, measured, presets, proof, recipe_tables, scale
from docs.generate.markdown import code, escaped, table
from docs.generate.original import original_arguments
from docs.generate.signatures import default, signature
from knowledge_distillation import projectors as projector_module
from knowledge_distillation.capture.adapters import ADAPTERS
from knowledge_distillation.cli import COMMANDS
from knowledge_distillation.losses import catalogue
from knowledge_distillation.training.optimizers import OPTIMIZERS
from knowledge_distillation.training.schedules import SCHEDULES
from knowledge_distillation.training.tracking import TRACKERS


def filled(markdown: str) -> str:
    """A page with every `<!-- generated: name -->` replaced.

    Raises:
        KeyError: if a page asks for a table that does not exist.
    """
    return re.sub(r"<!-- generated: ([\w-]+) -->", lambda asked: TABLES[asked[1]](), markdown)


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
    for name, (student, teacher) in ADAPTERS.items():
        sides = {"both": student} if student is teacher else {"student": student, "teacher": teacher}
        rows += [(code(name), side, escaped(docstrings.read(read).summary)) for side, read in sides.items()]
    return table(("Name", "For", "What it does"), rows)


def projectors() -> str:
    """What each projector name stands for, as `projectors.build` says it."""
    names = docstrings.read(projector_module.build).entries("Args")["name"]
    return f"{escaped(names)}\n\n{escaped(docstrings.read(projector_module.choose).description[0])}"


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


def described(documented: Any, section: str, head: str) -> str:
    """A section of a docstring as a table of names and meanings."""
    rows = [(code(name), escaped(text)) for name, text in docstrings.read(documented).entries(section).items()]
    return table((head, "Meaning"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "loss-count": lambda: str(len(catalogue())),
    "presets": presets.presets,
    "roles": presets.roles,
    "weight-schedules": presets.weight_schedules,
    "balances": presets.balances,
    "optimizers": optimizers,
    "schedules": schedules,
    "trackers": trackers,
    "adapters": adapters,
    "projectors": projectors,
    "models": recipe_tables.named_models,
    "data": recipe_tables.named_data,
    "recipes": recipe_tables.shipped,
    "recipe-sections": recipe_tables.sections,
    "recipe-teachers": recipe_tables.sources,
    "recipe-methods": recipe_tables.methods,
    "training-keys": recipe_tables.training_keys,
    "commands": commands,
    "distill-signature": distill_signature,
    "distill-arguments": lambda: described(kd.distill, "Args", "Argument"),
    "term-arguments": lambda: described(kd.Term, "Args", "Field"),
    "signals-fields": lambda: described(kd.Signals, "Attributes", "Field"),
    "original-arguments": original_arguments,
    "cache": cached.losses,
    "cache-io": cached.speeds,
    "cached-teacher": cached.steps,
    "cached-demo": cached.demo,
    "cache-damage": cached.damage,
    **lm_loss.TABLES,
    **measured.TABLES,
    **domains.TABLES,
    **proof.TABLES,
    **scale.TABLES,
}
