"""Puts a mutant's code into the functions that everybody already holds, and takes it out again."""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import knowledge_distillation

ROOT = Path(knowledge_distillation.__file__).parent


def module_of(file: Path) -> types.ModuleType:
    dotted = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    return importlib.import_module(f"{knowledge_distillation.__name__}.{dotted}")


def code_holders(module: types.ModuleType) -> dict[str, types.FunctionType]:
    """The functions and methods that a module defines, by qualified name."""
    found: dict[str, types.FunctionType] = {}

    def note(member: Any) -> None:
        if isinstance(member, property):
            member = member.fget
        member = inspect.unwrap(getattr(member, "__func__", member))
        if isinstance(member, types.FunctionType) and member.__module__ == module.__name__:
            found[member.__qualname__] = member

    for member in vars(module).values():
        note(member)
        if inspect.isclass(member) and member.__module__ == module.__name__:
            for method in vars(member).values():
                note(method)
    return found


@contextmanager
def broken(file: Path, function: str, source: str) -> Iterator[None]:
    """Inside the block, `function` of that file runs as `source` has it."""
    module = module_of(file)
    namespace: dict[str, Any] = {"__name__": module.__name__, "__package__": module.__package__, "__file__": str(file)}
    twin = types.ModuleType(module.__name__)
    twin.__dict__.update(namespace)
    exec(compile(source, str(file), "exec"), twin.__dict__)
    original, changed = code_holders(module)[function], code_holders(twin)[function]
    before = original.__code__
    original.__code__ = changed.__code__
    try:
        yield
    finally:
        original.__code__ = before
