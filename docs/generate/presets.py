"""What `objective=` takes by name: presets, roles of layers, schedules of weights, balances."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from docs.generate import docstrings
from docs.generate.loss_pages import short_paper
from docs.generate.markdown import code, escaped, table
from docs.generate.signatures import default
from knowledge_distillation.losses import catalogue
from knowledge_distillation.losses.catalogue import Entry
from knowledge_distillation.losses.facts import Paper
from knowledge_distillation.objective.balancing import BALANCES
from knowledge_distillation.objective.layers import ROLES
from knowledge_distillation.objective.presets import FAMILIES, Preset
from knowledge_distillation.objective.schedules import SCHEDULES
from knowledge_distillation.objective.term import OWN, Term, Unbuilt


def presets() -> str:
    """Every preset by family: its terms, where they look, the paper of its method, and what is to be known of it."""
    return "\n\n".join(f"## {title}\n\n{_family(family)}" for title, family in FAMILIES.items())


def _family(family: Mapping[str, Preset]) -> str:
    rows, notes = [], []
    for name, make in family.items():
        terms = make()
        sides = dict.fromkeys(_side(term) for term in terms.values())
        rows.append(
            (
                code(name),
                " + ".join(map(_weighed, terms.values())),
                "; ".join(map(code, sides)),
                short_paper(_paper(name, terms)),
            )
        )
        more = "" if isinstance(make, partial) else " ".join((inspect.getdoc(make) or "").split("\n\n")[1:2]).strip()
        if more and not more.startswith("Args:"):
            notes.append(f"- {code(name)}: {escaped(' '.join(more.split()))}")
    return "\n\n".join(
        filter(None, (table(("Preset", "What is minimised", "Between", "Paper"), rows), "\n".join(notes)))
    )


def _paper(name: str, terms: Mapping[str, Term]) -> Paper | None:
    """The paper of the loss that the preset is named after, or of the first that is not the usual beside it."""
    known = catalogue()
    if name in known:
        return known[name].facts.paper
    entries = [entry for term in terms.values() if (entry := _entry(term))]
    of_method = [entry for entry in entries if entry.name not in ("cross_entropy", "kd")] or entries
    return next((entry.facts.paper for entry in of_method if entry.facts.paper), None)


def roles() -> str:
    """Names for layers that are looked up in the models."""
    return table(("Role", "What it stands for"), [(code(name), escaped(text)) for name, text in ROLES.items()])


def weight_schedules() -> str:
    """Schedules by name with their settings."""
    rows = [(code(name), escaped(docstrings.read(make).summary), _settings(make)) for name, make in SCHEDULES.items()]
    return table(("Name", "What it does", "Settings and defaults"), rows)


def balances() -> str:
    """Balances by name."""
    rows = [(code(name), escaped(docstrings.read(kind).summary), _reference(kind)) for name, kind in BALANCES.items()]
    return table(("Name", "What it does", "Reference"), rows)


def _weighed(term: Term) -> str:
    if term.loss == OWN:
        return "the student's own losses"
    entry = _entry(term)
    name = f"[`{entry.name}`](losses/{entry.name}.md)" if entry else code(getattr(term.loss, "__name__", term.loss))
    told = ", ".join(f"{key}={default(value)}" for key, value in _own_settings(term, entry).items())
    notes = ", ".join(
        filter(
            None,
            (
                code(told) if told else "",
                "with a schedule" if term.schedule else "",
                term.views and f"{term.views} views",
            ),
        )
    )
    return f"{round(term.weight, 10):g} x {name}" + (f" ({notes})" if notes else "")


def _entry(term: Term) -> Entry | None:
    entries = catalogue()
    if isinstance(term.loss, str | Unbuilt):
        return entries.get(term.loss if isinstance(term.loss, str) else term.loss.name)
    return next((entry for entry in entries.values() if type(term.loss) is entry.module), None)


def _own_settings(term: Term, entry: Entry | None) -> Mapping[str, Any]:
    """Settings that differ from the loss's defaults, and the temperature always."""
    if isinstance(term.loss, Unbuilt):
        return term.loss.settings
    if entry is None or isinstance(term.loss, str):
        return {}
    parameters = inspect.signature(entry.module).parameters
    held = {name: getattr(term.loss, name) for name in parameters if hasattr(term.loss, name)}
    return {
        name: value
        for name, value in held.items()
        if isinstance(value, int | float | str) and (name == "temperature" or value != parameters[name].default)
    }


def _side(term: Term) -> str:
    return term.student if isinstance(term.student, str) else ", ".join(term.student)


def _settings(make: Any) -> str:
    parameters = inspect.signature(make).parameters.values()
    return code(", ".join(f"{parameter.name}={default(parameter.default)}" for parameter in parameters))


def _reference(kind: type) -> str:
    return escaped(docstrings.read(kind).text("Reference"))
