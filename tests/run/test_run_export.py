"""What goes wrong for a user who ships the student of the program that just trained it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.export import load
from knowledge_distillation.objective.finished import FinishedStudent
from knowledge_distillation.run_export import export_run
from tests.objective.preset_models import models_and_data
from tests.training.toys import QUIET, loader, mlp, points


def test_the_trained_student_is_proven_on_the_runs_own_data(tmp_path: Path) -> None:
    """Otherwise the file is compared on one made-up batch, or scored on data that the run never saw."""
    loaders = {"test": loader(20, seed=1)}
    run = kd.distill(mlp(9), mlp(1), loader(), loaders, max_epochs=1, directory=tmp_path / "run", trainer=QUIET)
    (run.directory / "comparison.json").write_text(json.dumps({"verdict": "no evidence", "seeds": [0, 1]}))
    done = export_run(run.plan, run.student, run.directory, "torch_export", {"card": {"license": "mit"}})
    assert done.path == tmp_path / "run" / "exports" / "torch_export"
    equality = done.manifest["equality"]
    assert equality["score"]["student"] == pytest.approx(run.scores["test"])
    assert equality["items"] >= 20
    card = (done.path / "README.md").read_text()
    assert "license: mit" in card
    assert "| Teacher | Sequential |" in card
    assert "2 seeds): no evidence" in card
    inputs = points(5).tensors[0]
    with torch.no_grad():
        torch.testing.assert_close(load(done.path)(inputs), run.student.eval()(inputs))


def test_what_simkd_leaves_in_a_student_ships_with_it(tmp_path: Path) -> None:
    """Otherwise the file answers with the classifier that the student was not trained with."""
    student, teacher, data = models_and_data("simkd")
    run = kd.distill(
        teacher, student, DataLoader(data, batch_size=8), objective="simkd", max_epochs=1,
        directory=tmp_path / "run", trainer=QUIET,
    )  # fmt: skip
    assert isinstance(run.student, FinishedStudent)
    done = export_run(run.plan, run.student, run.directory, "torch_export", {})
    batch = next(iter(DataLoader(data, batch_size=5)))
    inputs = {entry["name"]: batch[entry["name"]] for entry in done.manifest["inputs"]}
    with torch.no_grad():
        torch.testing.assert_close(done.load()(**inputs), run.student.eval()(**inputs), rtol=1e-4, atol=1e-5)


def test_a_run_that_was_read_back_asks_for_data(tmp_path: Path) -> None:
    """Otherwise its user reads that a loader is missing which they thought the run had."""
    with pytest.raises(ConfigError, match=r"read back has no data.*run\.export\(form, loader"):
        export_run(None, mlp(1), tmp_path, "torch_export", {})
    done = export_run(None, mlp(1), tmp_path, "safetensors", {"example": points(5).tensors[0]})
    assert done.path == tmp_path / "exports" / "safetensors"
    with pytest.raises(ConfigError, match="Did you mean 'onnx'"):
        export_run(None, mlp(1), tmp_path, "onxx", {"example": points(5).tensors[0]})
