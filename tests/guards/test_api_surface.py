"""What goes wrong for a user when a public name or argument goes, or slips in unnoticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import knowledge_distillation as kd
from tests.guards.surface import FROZEN, MODULES, surface

HOW = "If this is meant, write it into the changelog and run `python -m tests.guards.surface`."


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_the_frozen_ones(module: str) -> None:
    """Otherwise an upgrade breaks an import, or an accident becomes a promise."""
    frozen, now = json.loads(FROZEN.read_text())[module], surface()[module]
    assert sorted(now) == sorted(frozen), HOW


@pytest.mark.parametrize("module", MODULES)
def test_frozen_arguments_are_still_taken_in_their_order(module: str) -> None:
    """Otherwise a call that worked yesterday raises, or hands a value to another argument."""
    now = surface()[module]
    for name, before in json.loads(FROZEN.read_text())[module].items():
        positional, _, keywords = before.partition("*")
        wanted, taken = positional.replace(",", " ").split(), now[name].replace(",", " ").split()
        assert taken[: len(wanted)] == wanted, f"{module}.{name}: {HOW}"
        assert set(keywords.replace(",", " ").split()) <= set(taken), f"{module}.{name}: {HOW}"


def test_every_lazy_name_leads_somewhere() -> None:
    """Otherwise `kd.<tab>` offers a name that raises."""
    assert all(hasattr(kd, name) for name in kd.__all__)
    assert dir(kd) == kd.__all__
    with pytest.raises(AttributeError, match="distil"):
        _ = kd.distil  # codespell:ignore


@pytest.mark.slow
def test_every_frozen_module_can_be_imported_alone() -> None:
    """Otherwise the order of a user's imports matters."""
    # In a process of its own, where nothing of ours is loaded yet; what is not ours is loaded once.
    program = """
import importlib, sys
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "knowledge_distillation"]:
        del sys.modules[name]
    importlib.import_module(module)
    print(module)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(kd.__file__).parents[1])}
    command = [sys.executable, "-W", "ignore", "-c", program, *MODULES]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(MODULES)
