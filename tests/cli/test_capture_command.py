"""What goes wrong for a user who looks for the names of a model's layers before writing a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from knowledge_distillation.capture import tap
from knowledge_distillation.cli import main
from knowledge_distillation.domains.vision.models import resnet20
from tests.recipes.test_running import MODULE


def test_every_listed_path_is_one_that_a_tap_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the recipe names a layer that is not there, or of another shape."""
    assert main(["capture", "resnet20", "--shape", "3x32x32", "--set", "classes=7", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)
    model = resnet20(classes=7)
    with torch.no_grad(), tap(model, [point["path"] for point in points]) as taps:
        model(torch.zeros(2, 3, 32, 32))
    assert [list(taps[point["path"]].shape) for point in points] == [point["shape"] for point in points]


def test_the_table_names_layers_and_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a reader must open the model's source."""
    assert main(["capture", "digits_cnn", "--data", "digits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["path", "module", "calls", "output", "parameters"]
    assert any(line.split()[:2] == ["7", "Conv2d"] and "64, 4, 4]" in line for line in lines)


def test_models_and_data_of_the_users_own_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise only the models that come with the package can be looked at."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MODULE)
    own = ["capture", "net", "--data", "points", "--module", "mine.py", "--set", "hidden=6", "--json"]
    assert main(own) == 0
    assert [point["shape"] for point in json.loads(capsys.readouterr().out)] == [[8, 6], [8, 6], [8, 3], [8, 3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnt20", "--shape", "3x32x32"], "'resnet20'"),
        (["resnet20", "--shape", "3x"], "3x32x32, got '3x'"),
        (["resnet20", "--shape", "1x8x8", "--set", "channels=3"], "must run on 1x8x8"),
        (["resnet20", "--shape", "3x32x32", "--set", "depth=2"], "no setting 'depth'"),
        (["resnet20", "--shape", "3x32x32", "--set", "classes"], "a.b=value"),
        (["resnet20", "--data", "digit"], "'digits'"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a slip ends in a traceback."""
    assert main(["capture", *arguments]) == 2
    assert message in capsys.readouterr().err
