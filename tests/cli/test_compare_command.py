"""What goes wrong for a user who asks on the command line whether the teacher helped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knowledge_distillation.cli import main
from knowledge_distillation.training.bare import Bare, train_bare
from knowledge_distillation.training.plan import TrainingPlan
from tests.recipes.test_running import MODULE

RECIPE = """
description: tiny
teacher: {name: net, train: {max_epochs: 2, trainer: {accelerator: cpu, enable_progress_bar: false}}}
student: {name: net}
data: {name: points}
training: {max_epochs: 2, seed: 3, trainer: {accelerator: cpu, enable_progress_bar: false}}
"""


@pytest.fixture
def files(workplace: Path) -> list[str]:
    (workplace / "tiny.yaml").write_text(RECIPE)
    (workplace / "mine.py").write_text(MODULE)
    return ["tiny.yaml", "--module", "mine.py", "--directory", "run"]


def test_a_recipe_is_compared_and_the_verdict_printed(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the question needs Python, or the numbers cannot be read by a program."""
    assert main(["compare", *files, "--seeds", "2", "--arms", "labels,label_smoothing", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["seeds"] == [3, 4]
    assert list(printed["arms"]) == ["label_smoothing"]
    assert printed.pop("directory") == "run"
    assert printed == json.loads(Path("run/comparison.json").read_text())
    assert Path("run/control.safetensors").exists()


def test_the_table_names_every_arm_with_its_budget(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the reader cannot see how many steps the control took."""
    assert main(["compare", *files, "--seeds", "2", "--arms", "dkd", "--set", "objective=soft"]) == 0
    shown = capsys.readouterr().out
    for expected in ("without the teacher", "distilled", "dkd", "without, equal time", "steps", "Written to run"):
        assert expected in shown
    assert "the control learns from the labels" in " ".join(shown.split())
    assert "\u2026" not in shown  # nothing is cut off in 80 columns


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--seeds", "1"], "--seeds must be at least 2"),
        (["--arms", "smoothing"], "no arm named 'smoothing'"),
        (["--set", "teacher=null"], "no teacher section"),
        (["--set", "method={name: data_free}"], "makes its images with the teacher"),
        (["--set", "objective=labels"], "both arms would be the same training"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(
    files: list[str], wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the teacher is trained for an hour before the slip is found."""
    assert main(["compare", *files, *wrong]) == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_comparison_that_is_stopped_says_what_is_left_and_goes_on(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the reader does not know whether the distilled student is lost as well, and trains all of it again."""
    trained = train_bare

    def stopped(plan: TrainingPlan, *given: object, **settings: object) -> Bare:
        if plan.seed == 4:
            raise KeyboardInterrupt
        return trained(plan, *given, **settings)

    command = ["compare", *files, "--seeds", "2", "--equal", "steps"]
    with monkeypatch.context() as patched:
        patched.setattr("knowledge_distillation.run_comparison.train_bare", stopped)
        assert main(command) == 130
    said = " ".join(capsys.readouterr().err.split())
    assert "The distilled student in run is finished" in said
    assert Path("run/student.safetensors").exists()
    assert not Path("run/comparison.json").exists()
    assert main([*command, "--resume", "auto"]) == 0
    assert capsys.readouterr().err.count("broke off") == 1
    assert Path("run/comparison.json").exists()
