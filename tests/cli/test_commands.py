"""What goes wrong for a user when the command line answers wrongly, late, or with the wrong exit code."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from knowledge_distillation.cli import COMMANDS, main
from knowledge_distillation.cli.list_command import KINDS
from knowledge_distillation.domains.catalogue import data_sets, models
from knowledge_distillation.export import FORMS
from knowledge_distillation.losses import catalogue
from knowledge_distillation.objective.presets import PRESETS
from knowledge_distillation.recipes.reading import shipped
from knowledge_distillation.training.optimizers import OPTIMIZERS
from knowledge_distillation.training.schedules import SCHEDULES
from knowledge_distillation.training.tracking import TRACKERS
from tests.needing import needs
from tests.recipes.test_running import MODULE

SOURCE = Path(__file__).parents[2] / "src"
RECIPE = """
description: tiny
student: {name: net}
data: {name: points}
objective: labels
training: {max_epochs: 1, trainer: {accelerator: cpu, enable_progress_bar: false}}
"""
NAMES = {
    "losses": catalogue,
    "objectives": lambda: PRESETS,
    "recipes": shipped,
    "optimizers": lambda: OPTIMIZERS,
    "schedules": lambda: [name or '""' for name in SCHEDULES],
    "models": models,
    "data": data_sets,
    "trackers": lambda: TRACKERS,
    "exports": lambda: FORMS,
    "encodings": lambda: ["dense", "int8", "top_k", "compact_top_k", "sampled"],
    "adapters": lambda: ["auto", "causal_lm", "original", "two_tokenizers", "response_pairs"],
}


@pytest.fixture
def files(workplace: Path) -> list[str]:
    """The arguments that name a tiny recipe and the user's own file."""
    (workplace / "tiny.yaml").write_text(RECIPE)
    (workplace / "mine.py").write_text(MODULE)
    return ["tiny.yaml", "--module", "mine.py"]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)


def code_of(arguments: list[str]) -> int:
    """The exit code, whether `main` returns it or argparse exits with it."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_help_answers_at_once_without_torch() -> None:
    """Otherwise the first look at the tool takes seconds."""
    code = (
        "import sys\nfrom knowledge_distillation.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'lightning', 'numpy', 'rich', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for arguments in (["--help"], ["train", "--help"], ["demo", "--help"], ["list", "--help"]):
        done = python(code, *arguments)
        assert done.returncode == 0, done.stderr
        assert "usage: kd" in done.stdout


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a command exists that nobody finds."""
    assert code_of(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_the_package_installs_the_command() -> None:
    """Otherwise `kd` is not found after pip install."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["kd"] == "knowledge_distillation.cli:main"


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_prints_each_name_as_json_and_as_a_table(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a component exists that no user finds, or scripts cannot read the list."""
    monkeypatch.setenv("COLUMNS", "250")
    assert main(["list", kind, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    names = sorted(NAMES[kind]())
    assert names
    assert sorted(entry["name"] for entry in entries) == names
    assert all(entry["summary"].strip() for entry in entries)
    assert main(["list", kind]) == 0
    table = capsys.readouterr().out
    assert [name for name in names if name not in table] == []


def test_a_narrow_terminal_still_shows_whole_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the name that must be written into the recipe is cut or broken over two lines."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "losses"]) == 0
    table = capsys.readouterr().out
    assert [name for name in catalogue() if name not in table] == []


def test_a_training_prints_its_scores_and_writes_the_run(
    files: list[str], capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    """Otherwise the user does not learn how good the student is or where it lies."""
    assert main(["train", *files, "--directory", "out"]) == 0
    printed = capsys.readouterr().out
    assert "test: 0." in printed
    assert "Written to out" in printed
    assert (workplace / "out" / "student.safetensors").is_file()


def test_a_training_as_json_prints_json_and_nothing_else(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a script that reads the result breaks on a log line."""
    assert main(["train", *files, "--directory", "out", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["directory"] == "out"
    assert 0 <= printed["scores"]["test"] <= 1


def test_set_changes_one_value_and_the_run_says_so(files: list[str], workplace: Path) -> None:
    """Otherwise a sweep trains the same thing over and over."""
    assert main(["train", *files, "--directory", "out", "--set", "student.hidden=6", "--set", "training.seed=3"]) == 0
    assert load_file(workplace / "out" / "student.safetensors")["0.weight"].shape == (6, 5)
    assert "hidden: 6" in (workplace / "out" / "recipe.yaml").read_text()
    assert json.loads((workplace / "out" / "environment.json").read_text())["seed"] == 3


def test_resume_continues(files: list[str], workplace: Path) -> None:
    """Otherwise the advice that Ctrl-C prints does not work."""
    assert main(["train", *files, "--directory", "out"]) == 0
    more = ["--set", "training.max_epochs=3", "--resume", "auto"]
    assert main(["train", *files, "--directory", "out", *more]) == 0
    epochs = [row["epoch"] for row in csv.DictReader((workplace / "out" / "metrics.csv").read_text().splitlines())]
    assert sorted({int(epoch) for epoch in epochs if epoch}) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digit"], "no recipe named 'digit'"),
        (["train", "absent.yaml"], "no recipe file"),
        pytest.param(["train", "digits", "--set", "training.sed=1"], "'seed'", marks=needs("vision")),
        pytest.param(["train", "digits", "--module", "absent.py"], "no such file", marks=needs("vision")),
        pytest.param(
            ["train", "digits", "--set", "student.name=nothing"], "no model named 'nothing'", marks=needs("vision")
        ),
        pytest.param(["demo", "--dataset", "digit"], "no demo of 'digit'", marks=needs("vision")),
        (["list", "loss"], "invalid choice"),
        (["trian"], "invalid choice"),
        (["train"], "required"),
        ([], "required"),
        (["train", "digits", "--sett", "a=b"], "unrecognized"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else None,
)
def test_wrong_input_exits_with_2_and_one_line_without_a_traceback(
    arguments: Any, message: str, capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    """Otherwise a job script cannot tell a typing error from a failed training."""
    assert code_of(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert list(workplace.iterdir()) == []


def test_a_run_that_fails_exits_with_1(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a scheduler does not try again, or a sweep counts it as done."""
    for extra, message in (
        (["--resume", "auto"], "no checkpoint to resume from"),
        (["--set", "training.learning_rate=1e30", "--set", "training.optimizer=sgd"], "the loss is"),
    ):
        assert main(["train", *files, "--directory", "out", *extra]) == 1
        assert message in capsys.readouterr().err


def test_a_directory_in_use_exits_with_2(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the second of two jobs overwrites the first."""
    assert main(["train", *files, "--directory", "out"]) == 0
    assert main(["train", *files, "--directory", "out"]) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_exits_with_130_and_says_how_to_continue(workplace: Path) -> None:
    """Otherwise stopping looks like a crash, and the user does not know that nothing is lost."""
    (workplace / "tiny.yaml").write_text(RECIPE)
    (workplace / "mine.py").write_text(
        MODULE + "class Stops(nn.Linear):\n"
        "    def __init__(self, classes, features):\n        super().__init__(features, classes)\n"
        "    def forward(self, inputs):\n        raise KeyboardInterrupt\n"
    )
    done = python(
        "import sys\nfrom knowledge_distillation.cli import main\nsys.exit(main())",
        *["train", "tiny.yaml", "--module", "mine.py", "--set", "student.name=Stops", "--directory", "out"],
    )
    assert done.returncode == 130, done.stderr
    assert "--resume auto" in done.stderr
    assert "Traceback" not in done.stderr
