"""What goes wrong for a user who sweeps from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from knowledge_distillation import cli
from knowledge_distillation.cli import main
from tests.recipes.test_running import MODULE

RECIPE = """
student: {name: net}
data: {name: points}
objective: {labels: {loss: cross_entropy}}
training: {max_epochs: 1, trainer: {accelerator: cpu, enable_progress_bar: false}}
sweep:
  training.learning_rate: 1e-3..1e-1:log
  training.optimizer: [adamw, sgd]
"""


@pytest.fixture
def files(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setitem(cli.COMMANDS, "sweep", "try settings of a recipe and write out the best one")
    (workplace / "tiny.yaml").write_text(RECIPE)
    (workplace / "mine.py").write_text(MODULE)
    return ["sweep", "tiny.yaml", "--module", "mine.py", "--directory", "found"]


def test_a_sweep_ends_in_a_recipe_that_train_takes(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the user copies numbers from a table into a file."""
    assert main([*files, "--trials", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(printed["trials"]) == 2
    assert set(printed["best"]["values"]) == {"training.learning_rate", "training.optimizer"}
    assert main(["train", printed["recipe"], "--module", "mine.py", "--directory", "again", "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["scores"]["test"] == printed["best"]["score"]


def test_a_line_for_every_trial_and_the_best_at_the_end(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise nobody sees how an hour of trials goes, or what it found."""
    assert main([*files, "--trials", "1"]) == 0
    assert main([*files, "--trials", "2", "--resume", "--set", "description=x"]) == 2
    said = capsys.readouterr()
    assert "begun with another recipe" in " ".join(said.err.split())
    assert main([*files, "--trials", "2", "--resume"]) == 0
    said = capsys.readouterr()
    assert "trial 1 of 2: training.learning_rate" in said.err
    assert "trial 0 of" not in said.err
    assert "Best of 2 trials: test " in said.out
    assert "kd train found/best.yaml" in said.out


def test_a_misspelt_setting_names_the_nearest(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a sweep varies what nothing reads."""
    assert main([*files, "--over", "training.learning_rat=1..2"]) == 2
    assert "Did you mean 'learning_rate'" in " ".join(capsys.readouterr().err.split())


def test_a_missing_package_names_the_extra(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the user meets ModuleNotFoundError and must guess what to install."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(files) == 1
    assert "knowledge-distillation-toolkit[sweep]" in capsys.readouterr().err
