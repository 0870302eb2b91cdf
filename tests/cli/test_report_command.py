"""What goes wrong for a user who asks on the command line what became of a run."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import knowledge_distillation as kd
from knowledge_distillation import cli
from knowledge_distillation.cli import main
from tests.recipes.test_running import MODULE
from tests.training.toys import QUIET, loader, mlp

TRAINER = "trainer: {accelerator: cpu, enable_progress_bar: false}"
RECIPE = f"""
description: tiny
teacher: {{name: net, hidden: 16, train: {{max_epochs: 2, {TRAINER}}}}}
student: {{name: net}}
data: {{name: points}}
training: {{max_epochs: 1, seed: 3, {TRAINER}}}
"""
ONE = "validation={'test': DataLoader(TensorDataset(inputs[:1], labels[:1]), batch_size=8)}"
NONE = "validation={}"
VALIDATION = 'validation={"test": DataLoader(TensorDataset(inputs, labels), batch_size=8)}'


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(cli.COMMANDS, "report", "measure a run and write all that is known of it")
    monkeypatch.setitem(cli.COMMANDS, "compare", "train the same student without the teacher")
    (workplace / "tiny.yaml").write_text(RECIPE)
    (workplace / "mine.py").write_text(MODULE)
    return workplace


def trained(place: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Path:
    assert main(["train", "tiny.yaml", "--module", "mine.py", "--directory", "run", *more]) == 0
    capsys.readouterr()
    return Path("run")


def evaluated(home: Path) -> dict[str, Any]:
    return json.loads((home / "evaluation.json").read_text())


def test_teacher_student_and_control_are_measured_and_stand_on_the_page(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the page has no figures, or those of other models than the run's."""
    assert main(["compare", "tiny.yaml", "--module", "mine.py", "--directory", "run", "--seeds", "2"]) == 0
    capsys.readouterr()
    assert main(["report", "run", "--module", "mine.py", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    home = Path("run")
    assert printed["report"] == str(home / "report.html")
    assert printed["verdict"]["comparison"] == json.loads((home / "comparison.json").read_text())
    models = evaluated(home)["models"]
    assert list(models) == ["teacher", "student", "control"]
    environment = json.loads((home / "environment.json").read_text())
    assert models["student"]["quality"]["value"] == pytest.approx(environment["scores"]["test"])
    for name, file in (
        ("teacher", home / "teacher" / "student.safetensors"),
        ("student", home / "student.safetensors"),
        ("control", home / "control.safetensors"),
    ):
        weights = load_file(file)
        assert models[name]["quality"]["value"] == pytest.approx(accuracy(weights)), name
        assert models[name]["cost"]["parameters"] == sum(tensor.numel() for tensor in weights.values())


def accuracy(weights: dict[str, torch.Tensor]) -> float:
    """Of the network of MODULE on the points of MODULE, computed by hand."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(24, 5, generator=generator)
    labels = torch.randint(3, (24,), generator=generator)
    hidden = (inputs @ weights["0.weight"].T + weights["0.bias"]).relu()
    logits = hidden @ weights["2.weight"].T + weights["2.bias"]
    return float((logits.argmax(1) == labels).double().mean())


def test_a_run_is_measured_once_and_again_when_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise every look at a page costs minutes, or an export made later never gets on it."""
    home = trained(place, capsys)
    assert main(["report", "run", "--module", "mine.py"]) == 0
    first = (home / "evaluation.json").read_bytes()
    changed = {**evaluated(home), "notes": ["kept"]}
    (home / "evaluation.json").write_text(json.dumps(changed))
    assert main(["report", "run", "--module", "mine.py"]) == 0
    assert evaluated(home)["notes"] == ["kept"]
    assert main(["report", "run", "--module", "mine.py", "--evaluate"]) == 0
    assert evaluated(home)["data"] == json.loads(first)["data"]
    assert evaluated(home)["notes"] != ["kept"]


def test_a_teacher_that_is_gone_is_named_and_the_rest_measured(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise one missing file costs the whole page, or the teacher's column is silently not there."""
    home = trained(place, capsys)
    (home / "teacher" / "student.safetensors").unlink()
    assert main(["report", "run", "--module", "mine.py"]) == 0
    assert list(evaluated(home)["models"]) == ["student"]
    assert any("The teacher was not measured" in note for note in evaluated(home)["notes"])
    assert "The teacher was not measured" in (home / "report.md").read_text()


def test_one_validation_sample_gives_a_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a spread or a curve over one item ends in a division by zero."""
    assert VALIDATION in MODULE
    (place / "mine.py").write_text(MODULE.replace(VALIDATION, ONE))
    home = trained(place, capsys)
    assert main(["report", "run", "--module", "mine.py"]) == 0
    assert evaluated(home)["data"]["items"] == 1
    assert "Measured on 1 item of test" in (home / "report.md").read_text()


def test_a_student_that_answers_nan_is_named_on_the_page(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise its figures are missing without a word, or the JSON is none."""
    home = trained(place, capsys)
    weights = load_file(home / "student.safetensors")
    save_file({name: torch.full_like(tensor, float("nan")) for name, tensor in weights.items()},
              home / "student.safetensors")  # fmt: skip
    assert main(["report", "run", "--module", "mine.py"]) == 0
    assert "student: 24 items were answered with NaN." in (home / "report.md").read_text()
    assert "NaN" not in json.dumps(json.loads((home / "report.json").read_text())["sections"]["models"]["blocks"][0])


def test_without_validation_data_the_page_says_what_is_missing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a run without labels has no page at all."""
    (place / "mine.py").write_text(MODULE.replace(VALIDATION, NONE))
    home = trained(place, capsys)
    assert main(["report", "run", "--module", "mine.py"]) == 0
    said = capsys.readouterr()
    assert "Not measured: The data set 'points' has no validation loader" in " ".join(said.err.split())
    assert "Not measured: quality, size" in (home / "report.md").read_text()
    assert main(["report", "run", "--module", "mine.py", "--evaluate"]) == 2


def test_a_run_of_python_says_how_it_is_measured(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise its user is sent to a command that cannot build their models."""
    kd.distill(mlp(9), mlp(1), loader(), max_epochs=1, directory="run", trainer=QUIET)
    assert main(["report", "run"]) == 0
    assert "run.report()" in " ".join(capsys.readouterr().err.split())
    assert "run.report()" in Path("run/report.md").read_text()


def test_open_shows_the_page_that_was_written(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the browser gets a relative path, which it looks up on the web."""
    home = trained(place, capsys)
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(shown.append(address)))
    assert main(["report", "run", "--module", "mine.py", "--open"]) == 0
    assert shown == [(home / "report.html").resolve().as_uri()]
    assert "No browser could be opened" in " ".join(capsys.readouterr().err.split())


def test_a_mistyped_directory_is_an_input_error(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a typing error ends in a traceback, or in an empty page."""
    assert main(["report", "rnu"]) == 2
    assert "There is no directory rnu" in " ".join(capsys.readouterr().err.split())
