"""What goes wrong for a user when the models of a run are not measured alike, or are not those of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation import run_evaluation
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.evaluation.result import Evaluation
from knowledge_distillation.export.exporting import export
from knowledge_distillation.run_evaluation import evaluate_run
from tests.run.test_compare import learnable, student, train
from tests.training.toys import QUIET, Scripted, mlp


def evaluated(run: kd.Run, loader: Any = None, **changes: Any) -> Evaluation:
    metric, models = changes.pop("metric", None), changes.pop("models", None)
    measures = {"rounds": 1, "warm_up": 0, "layers": None, **changes}
    return evaluate_run(
        run.plan,
        run.module.teacher,
        run.student,
        run.directory,
        loader,
        metric=metric,
        models=models,
        measures=measures,
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[kd.Run, Any]:
    """A run with a control and an exported file, and its comparison."""
    run = train(tmp_path_factory.mktemp("evaluated") / "run")
    found = run.compare(seeds=2, equal="steps")
    export(run.student, "torch_export", run.directory / "exports" / "torch_export", example=torch.zeros(2, 5))
    return run, found


def test_teacher_student_control_and_exported_file_stand_side_by_side(compared: tuple[kd.Run, Any]) -> None:
    """Otherwise the control is the student again, or the file is another model than the one that was measured."""
    run, found = compared
    state = torch.get_rng_state()
    measured = evaluated(run)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(measured.models) == ["teacher", "student", "control", "torch_export"]
    values = {name: part["quality"]["value"] for name, part in measured.models.items()}
    assert values["student"] == run.scores["test"] == found.with_teacher[0]
    assert values["control"] == found.without_teacher[0]
    assert values["torch_export"] == values["student"]
    assert measured.fidelity["torch_export"]["agreement"] == measured.fidelity["student"]["agreement"]
    assert measured.fidelity["student"]["agreement"] != 1
    file = next((run.directory / "exports" / "torch_export").glob("*.pt2"))
    assert measured.models["torch_export"]["cost"]["file_bytes"] == file.stat().st_size
    assert measured.data["loader"] == "test"
    assert json.loads((run.directory / "evaluation.json").read_text()) == measured.as_dict()


def test_further_models_and_data_can_be_named(compared: tuple[kd.Run, Any]) -> None:
    """Otherwise a run that was taught from a cache is never held against its teacher."""
    run, _ = compared
    given = DataLoader(learnable(30, 8), batch_size=10)
    measured = evaluated(run, given, models={"teacher": mlp(2), "older": mlp(3)}, cost=False)
    assert measured.data["items"] == 30
    assert next(iter(measured.models)) == "teacher"
    assert "older" in measured.models
    assert measured.models["teacher"]["quality"]["value"] != evaluated(run, given).models["teacher"]["quality"]["value"]


def test_the_run_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    """Otherwise the headline is accuracy where the user trained for another figure, or the batch is not understood."""

    def adapter(model: nn.Module, batch: Any, temperature: float) -> kd.Signals:
        return kd.Signals(logits=model(batch["measured"]), labels=batch["kind"])

    inputs, labels = learnable(16, 1).tensors
    batches = [{"measured": inputs, "kind": labels}]
    run = kd.distill(
        mlp(9), student, batches, {"first": batches, "second": batches}, pipeline=Scripted(*[0.25] * 8),
        adapter=adapter, max_epochs=1, directory=tmp_path / "run", trainer=QUIET,
    )  # fmt: skip
    measured = evaluated(run, metric="second")
    assert (measured.data["loader"], measured.data["items"]) == ("second", 16)
    assert measured.models["student"]["quality"]["value"] == 0.25
    assert "accuracy" in measured.models["student"]["also"]


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    """Otherwise a missing loader is an AttributeError, or a control of another shape half loaded."""
    run = train(tmp_path / "blind", val_loaders=None)
    with pytest.raises(ConfigError, match=r"the run has none.*run\.evaluate\(loader\)"):
        evaluated(run)
    assert evaluated(run, [(torch.zeros(2, 5), torch.tensor([0, 1]))]).data["items"] == 2
    run = train(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"no validation loader named 'tset'.*test"):
        evaluated(run, metric="tset")
    save_file({"0.weight": torch.zeros(1)}, run.directory / "control.safetensors")
    with pytest.raises(CheckpointError, match="must hold the control student"):
        evaluated(run)


def test_files_are_opened_on_the_threads_they_are_timed_on(
    compared: tuple[kd.Run, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a runtime answers on every core and its student on one, and the file looks faster than it is."""
    run, _ = compared
    seen: list[int] = []
    original = run_evaluation.read

    def watched(directory: Path) -> Any:
        seen.append(torch.get_num_threads())
        return original(directory)

    monkeypatch.setattr(run_evaluation, "read", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        evaluated(run, threads=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1]
