"""What goes wrong for a user who ships a run from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from knowledge_distillation.cli import main
from knowledge_distillation.export import FORMS, load
from knowledge_distillation.recipes.rebuilding import rebuilt
from knowledge_distillation.recipes.running import own_names
from tests.cli.test_report_command import RECIPE
from tests.recipes.test_running import MODULE


@pytest.fixture
def place(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (workplace / "tiny.yaml").write_text(RECIPE)
    (workplace / "mine.py").write_text(MODULE)
    assert main(["train", "tiny.yaml", "--module", "mine.py", "--directory", "run"]) == 0
    capsys.readouterr()
    return workplace


def test_a_run_is_written_in_the_forms_that_were_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the file is not the student whose score the run printed, or nobody finds it."""
    (place / "run" / "comparison.json").write_text(
        json.dumps(
            {"verdict": "hurt", "metric": "test", "seeds": [0, 1], "difference": -0.1, "low": -0.2, "high": -0.0}
        )
    )
    forms = ["--to", "safetensors", "--to", "torch_export"]
    assert main(["export", "run", *forms, "--module", "mine.py", "--license", "mit", "--json"]) == 0
    manifests = json.loads(capsys.readouterr().out)["exports"]
    assert [manifest["form"] for manifest in manifests] == ["safetensors", "torch_export"]
    student, data, _ = rebuilt("run", own_names("mine.py"))
    inputs, _ = next(iter(data.validation["test"]))
    with torch.no_grad():
        torch.testing.assert_close(load("run/exports/torch_export")(inputs), student(inputs))
    written = json.loads((place / "run/exports/torch_export/manifest.json").read_text())
    assert written == manifests[1]
    assert written["equality"]["score"]["student"] == written["equality"]["score"]["artefact"]
    card = (place / "run/exports/torch_export/README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "mit"
    assert "| Data | points |" in card
    assert "| Teacher | net |" in card
    assert "| Scored on | test |" in card
    assert "2 seeds): hurt, difference -0.1000" in card


def test_the_line_says_how_equal_the_file_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a user must open a JSON file to learn whether they can ship."""
    assert main(["export", "run", "--to", "torch_export", "--module", "mine.py", "--directory", "out"]) == 0
    line, file = capsys.readouterr().out.splitlines()
    assert line.startswith("torch_export: ")
    assert "of the output, same class 100.00%, score on test 0." in line
    assert (place / file.strip()).is_file()
    assert file.strip() == "out/torch_export/student.pt2"


def test_the_loader_that_was_named_is_scored(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the manifest gives the score of the data that a user chose by, beside test scores everywhere else."""
    whole = "DataLoader(TensorDataset(inputs, labels), batch_size=8)"
    few = f'{whole}, "few": DataLoader(TensorDataset(inputs[:6], labels[:6] * 0))'
    (place / "mine.py").write_text(MODULE.replace(whole, few))
    assert main(["export", "run", "--to", "safetensors", "--module", "mine.py", "--metric", "few", "--json"]) == 0
    (manifest,) = json.loads(capsys.readouterr().out)["exports"]
    student, data, _ = rebuilt("run", own_names("mine.py"))
    inputs = torch.cat([batch for batch, _ in data.validation["few"]])
    first = (student(inputs).argmax(dim=1) == 0).float().mean().item()
    assert manifest["equality"]["score"]["student"] == pytest.approx(first)
    whole, labels = (torch.cat(parts) for parts in zip(*data.validation["test"], strict=True))
    assert first != pytest.approx((student(whole).argmax(dim=1) == labels).float().mean().item())


def test_a_difference_beyond_the_tolerance_fails_and_leaves_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a script that checks the exit code ships another model."""
    monkeypatch.setattr(
        "knowledge_distillation.export.safetensors_form.load_weights",
        lambda model, file: torch.nn.init.ones_(model[0].weight),
    )
    assert main(["export", "run", "--to", "safetensors", "--module", "mine.py"]) == 1
    assert "must answer as the student does" in capsys.readouterr().err
    assert list((place / "run" / "exports").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--to", "onxx", "--module", "mine.py"], "Did you mean 'onnx'"),
        (["run", "--to", "onnx", "--to", "int8", "--push", "me/tiny"], "--push uploads one form"),
        (
            ["run", "--module", "mine.py", "--metric", "tets"],
            "There is no validation loader named 'tets'. Did you mean",
        ),
        (["nowhere"], "holds no recipe.yaml"),
        (["run", "--to", "safetensors", "--module", "mine.py", "--tolerance", "-1"], "must be a number >= 0"),
    ],
)
def test_wrong_input_is_named(
    arguments: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a typing mistake costs a training's worth of waiting, or a traceback."""
    assert main(["export", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_forms_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise nobody knows what can be asked for."""
    assert main(["list", "exports", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == list(FORMS)
