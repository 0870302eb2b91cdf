"""The catalogue of losses, read from the code: every `Loss` subclass of this package and its facts."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import knowledge_distillation.losses as package
from knowledge_distillation.accepted import check_accepted
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.losses.loss import Loss


@dataclass(frozen=True, slots=True)
class Entry:
    """One loss: its name, its module class, its pure function and its facts."""

    name: str
    module: type[Loss]
    function: Callable[..., Any]
    facts: Facts

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: name, families, summary, paper, what it needs and learns, laws and exceptions."""
        return {
            "name": self.name,
            "family": self.facts.families[0],
            "families": list(self.facts.families),
            "summary": self.summary,
            "paper": asdict(self.facts.paper) if self.facts.paper else None,
            "signal": self.facts.signal,
            "needs": list(self.facts.needs),
            "takes": list(self.facts.takes),
            "uses_teacher": self.facts.uses_teacher,
            "same_classes": self.facts.same_classes,
            "learns": self.facts.learns,
            "laws": list(self.facts.laws()),
            "exceptions": self.facts.reasons(),
        }


def catalogue() -> dict[str, Entry]:
    """Every loss by name, in alphabetical order.

    A loss named `forward_kl` is the function `losses.forward_kl` and the module `losses.ForwardKL`.
    """
    return dict(_entries())


def loss_named(name: str, **settings: Any) -> Loss:
    """Build the module of one loss from its catalogue name.

    Raises:
        ConfigError: if the name is unknown, or the loss has no such setting or cannot take its value.
    """
    entries = _entries()
    if name not in entries:
        raise ConfigError(f"There is no loss named {name!r}. {nearest(name, entries)}")
    module = entries[name].module
    check_accepted(f"Loss {name!r}", module, settings)
    try:
        return module(**settings)
    except (TypeError, RuntimeError) as error:  # of torch: more memory than there is
        accepted = list(inspect.signature(module).parameters)
        raise ConfigError(
            f"Loss {name!r} cannot be built from {sorted(settings)}: {error}. It takes {accepted}."
        ) from error


@cache
def _entries() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        functions = {
            _letters(name): function
            for name, function in inspect.getmembers(module, inspect.isfunction)
            if function.__module__ == module.__name__ and not name.startswith("_")
        }
        for name, member in inspect.getmembers(module, inspect.isclass):
            if not issubclass(member, Loss) or member.__module__ != module.__name__ or "facts" not in vars(member):
                continue
            function = functions[_letters(name)]
            found[function.__name__] = Entry(function.__name__, member, function, member.facts)
    return dict(sorted(found.items()))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
