"""Finds every declared case: each cases_*.py beside this file has a list CASES."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import tests.laws as package
from knowledge_distillation.losses import catalogue
from tests.laws.case import Case


@cache
def all_cases() -> tuple[Case, ...]:
    modules = [info.name for info in pkgutil.iter_modules(package.__path__) if info.name.startswith("cases_")]
    return tuple(case for name in modules for case in importlib.import_module(f"{package.__name__}.{name}").CASES)


def cases_of(loss: str) -> tuple[Case, ...]:
    return tuple(case for case in all_cases() if case.name == loss)


def title(case: Case) -> str:
    return f"{case.name}[{case.label}]" if case.label else case.name


def signal_of(case: Case) -> str:
    """What the catalogue says that student and teacher hand in, such as "logits"."""
    return catalogue()[case.name].facts.signal


def reasons(case: Case) -> dict[str, str]:
    """The laws that this case's loss does not obey, each with the reason in the catalogue."""
    return catalogue()[case.name].facts.reasons()
