"""What goes wrong for a user when an import pulls in what it does not need, or the rooms become one knot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "knowledge_distillation"


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_package_alone_loads_nothing_heavy() -> None:
    """Otherwise every tool that only asks for our version waits for torch."""
    heavy = {"torch", "lightning", "numpy", "yaml", "rich", "torchmetrics"}
    assert not heavy & loaded_by("import knowledge_distillation as kd; dir(kd)")


def test_losses_load_torch_and_nothing_of_the_training_engine() -> None:
    """Otherwise losses in a plain loop cost an engine that is never used."""
    loaded = loaded_by("import knowledge_distillation.losses")
    assert "torch" in loaded
    assert not {"lightning", "pytorch_lightning", "torchmetrics", "yaml", "rich", "safetensors"} & loaded


def test_a_room_imports_only_rooms_below_it() -> None:
    """Otherwise a change in one place breaks another that should not know of it."""
    # In a process of its own: import-linter switches off every logger that it finds.
    program = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "pyproject.toml")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_names_every_room() -> None:
    """Otherwise a new room may import what it likes, and the contract is kept."""
    tomllib = pytest.importorskip("tomllib")
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = {layer.strip().rpartition(".")[2] for line in contract["layers"] for layer in line.split("|")}
    there = {path.stem if path.suffix else path.name for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert named == {name for name in there if not name.startswith("_")}
