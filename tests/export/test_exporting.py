"""What goes wrong for a user when an export is called done before it is one, or changes the student."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from knowledge_distillation.errors import ConfigError, ExportError, ModelContractError
from knowledge_distillation.export import Exported, export, load, read
from knowledge_distillation.export import forms as forms_room
from knowledge_distillation.export.forms import FORMS
from knowledge_distillation.export.safetensors_form import write_safetensors
from knowledge_distillation.objective.finished import FinishedStudent
from tests.export.students import (
    FEATURES,
    TokenModel,
    TwoInputs,
    WithTemperature,
    cnn,
    images,
    labelled,
    mlp,
    points,
)
from tests.training.toys import identical, snapshot


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_leaves_the_student_as_it_was(form: str, tmp_path: Path) -> None:
    """Otherwise exporting in the middle of a training changes the training."""
    student = mlp()
    student.act.eval()
    before, modes = snapshot(student), [module.training for module in student.modules()]
    loader = labelled(student, points())
    student.act.eval()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    done = export(student, form, tmp_path / form, loader=loader, tolerance={"agreement": 0.8})
    assert identical(before, snapshot(student))
    assert [module.training for module in student.modules()] == modes
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1], states[2]) == (random.getstate(), np.random.get_state()[1].tolist())
    assert all(parameter.requires_grad for parameter in student.parameters())
    again = load(done.path, mlp() if form == "safetensors" else None)
    assert again(points(3)).shape == (3, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [form]
    assert {file.name for file in done.path.iterdir()} == {done.file.name, "manifest.json", "README.md"}


def test_weights_that_were_written_wrong_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a file that is not the student is called proven, and lies where users look for it."""

    def spoilt(job: Any, folder: Path) -> dict[str, Any]:
        details = write_safetensors(job, folder)
        weights = load_file(folder / details["file"])
        save_file({**weights, "head.bias": weights["head.bias"] + 0.01}, folder / details["file"])
        return details

    form = FORMS["safetensors"]
    changed = forms_room.Form(form.summary, spoilt, form.open, form.tolerance, form.keeps_dtype)
    monkeypatch.setattr(forms_room, "FORMS", {**FORMS, "safetensors": changed})
    monkeypatch.setattr("knowledge_distillation.export.exporting.FORMS", forms_room.FORMS)
    with pytest.raises(ExportError, match=r"logits differs by .* nothing was written"):
        export(mlp(), "safetensors", tmp_path / "out", example=points(4))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_proven_one_in_its_place(tmp_path: Path) -> None:
    """Otherwise an attempt that fails takes away what was shipped."""
    first = export(mlp(), "safetensors", tmp_path / "out", example=points(4))
    with pytest.raises(ModelContractError):
        export(mlp(), "safetensors", tmp_path / "out", example="no batch")
    assert read(tmp_path / "out").manifest == first.manifest
    second = export(mlp(16), "safetensors", tmp_path / "out", example=points(4))
    assert read(tmp_path / "out").manifest["student"] == second.manifest["student"] != first.manifest["student"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_other_things_is_not_overwritten(tmp_path: Path) -> None:
    """Otherwise a mistyped folder costs its owner their files."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="would be overwritten"):
        export(mlp(), "safetensors", tmp_path, example=points(4))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_hooks_do_not_ship(tmp_path: Path) -> None:
    """Otherwise a tap that was left on keeps firing in production; one that changes the answer must not pass unseen."""
    student, seen = mlp(), []
    student.hidden.register_forward_hook(lambda *_: seen.append(1))
    done = export(student, "torch_export", tmp_path / "out", example=points(4))
    assert "1 hooks of the student were left out." in done.manifest["notes"]
    assert len(student.hidden._forward_hooks) == 1
    before = len(seen)
    done.load()(points(2))
    assert len(seen) == before
    student.head.register_forward_hook(lambda module, inputs, output: 3 * output)
    with pytest.raises(ExportError, match="Hooks that change"):
        export(student, "safetensors", tmp_path / "second", example=points(4))


def test_weight_norm_ships_although_it_is_a_hook(tmp_path: Path) -> None:
    """Otherwise the student is shipped with the weight of its last training step, or not at all."""
    student = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(FEATURES, 4)))
    with torch.no_grad():
        student[0].parametrizations.weight.original0.mul_(2)
    done = export(student, "torch_export", tmp_path / "out", example=points(4))
    with torch.no_grad():
        torch.testing.assert_close(done.load()(points(3)), student(points(3)))


def test_wrappers_do_not_ship(tmp_path: Path) -> None:
    """Otherwise the file needs DataParallel, or its weights are called module.hidden.weight."""
    done = export(nn.DataParallel(mlp()), "safetensors", tmp_path / "out", example=points(4))
    assert sorted(load_file(done.file)) == ["head.bias", "head.weight", "hidden.bias", "hidden.weight"]


def test_lower_precision_is_kept_by_weights_and_told_by_the_others(tmp_path: Path) -> None:
    """Otherwise a bfloat16 student fails for its rounding alone, or grows without a word."""
    student = mlp().bfloat16()
    kept = export(student, "safetensors", tmp_path / "weights", example=points(4))
    assert {value.dtype for value in load_file(kept.file).values()} == {torch.bfloat16}
    done = export(student, "torch_export", tmp_path / "program", example=points(4))
    assert done.manifest["student"]["shipped_dtype"] == "float32"
    assert any("bfloat16 and were written as float32" in note for note in done.manifest["notes"])
    with torch.no_grad():
        expected = copy.deepcopy(student).float()(points(3))
    torch.testing.assert_close(done.load()(points(3)), expected)


def test_inputs_by_keyword_and_named_outputs(tmp_path: Path) -> None:
    """Otherwise the mask goes in as the tokens, hidden states come out as logits, or a cache stops the export."""
    student = TokenModel()
    tokens, mask = torch.randint(30, (3, 7)), torch.ones(3, 7, dtype=torch.long)
    mask[1, 4:] = 0
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": torch.tensor([0, 1, 2])}
    done = export(student, "torch_export", tmp_path / "out", loader=[batch, batch])
    assert [(entry["name"], entry["shape"]) for entry in done.manifest["inputs"]] == [
        ("input_ids", ["batch", "sequence"]),
        ("attention_mask", ["batch", "sequence"]),
    ]
    assert {entry["name"]: entry["shape"] for entry in done.manifest["outputs"]} == {
        "logits": ["batch", 4],
        "hidden_states.0": ["batch", "sequence", 16],
        "hidden_states.1": ["batch", 16],
    }
    assert student.config.use_cache
    student.config.use_cache = False
    answer = done.load()(attention_mask=mask[:2, :5], input_ids=tokens[:2, :5])
    with torch.no_grad():
        torch.testing.assert_close(answer.logits, student(tokens[:2, :5], mask[:2, :5])["logits"])
    with pytest.raises(AttributeError, match="no output 'loss'"):
        _ = answer.loss
    with pytest.raises(ModelContractError, match="needs the input 'attention_mask'"):
        done.load()(input_ids=tokens)


@pytest.mark.parametrize("with_labels", [False, True])
def test_several_positional_inputs(with_labels: bool, tmp_path: Path) -> None:
    """Otherwise the last input is taken for the labels, or the labels for an input."""
    student = TwoInputs()
    batch = (points(4), torch.randn(4, 3), *([torch.tensor([0, 1, 2, 3])] if with_labels else []))
    done = export(student, "torch_export", tmp_path / "out", example=batch)
    assert [entry["name"] for entry in done.manifest["inputs"]] == ["points", "extra"]
    first, second = done.load()(points(2), torch.ones(2, 3))
    with torch.no_grad():
        expected = student(points(2), torch.ones(2, 3))
    torch.testing.assert_close((first, second), expected)
    again = load(done.path)(extra=torch.ones(2, 3), points=points(2))
    torch.testing.assert_close(again, expected)
    with pytest.raises(ModelContractError, match=r"takes 2 positional inputs \(points, extra\), and got 3"):
        done.load()(points(2), torch.ones(2, 3), torch.tensor([0, 1]))


def test_a_student_of_the_originals_contract(tmp_path: Path) -> None:
    """Otherwise its temperature is baked in unseen, and a score at another temperature is not the student's."""
    done = export(WithTemperature(), "torch_export", tmp_path / "out", example=(points(4),), adapter="original")
    assert done.manifest["constants"] == {"temperature": 1.0}
    loaded = done.load()
    assert set(loaded(points(2), temperature=1.0)) == {"prob", "log_prob", "logits"}
    for call in (lambda: loaded(points(2), temperature=4.0), lambda: loaded(points(2), 4.0)):
        with pytest.raises(ModelContractError, match=r"temperature=4\.0 cannot be had"):
            call()


def test_a_student_that_keeps_parts_of_its_loss(tmp_path: Path) -> None:
    """Otherwise what "simkd" leaves in a student is lost at the door."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(48, 4)

        def student_logits(self, features: torch.Tensor) -> torch.Tensor:
            return self.map(features)

    student = FinishedStudent(mlp(), Head(), "act")
    done = export(student, "torch_export", tmp_path / "out", example=points(4))
    with torch.no_grad():
        torch.testing.assert_close(done.load()(points(3)), student(points(3)))


def test_a_single_sample_is_enough(tmp_path: Path) -> None:
    """Otherwise an example of one row is traced as a batch that always has one."""
    done = export(cnn(), "torch_export", tmp_path / "out", example=images(1))
    assert done.load()(images(5)).shape == (5, 4)


def test_axes_can_be_fixed_and_named(tmp_path: Path) -> None:
    """Otherwise nobody can ship for an engine that wants fixed sizes, or vary what no rule guesses."""
    fixed = export(mlp(), "torch_export", tmp_path / "fixed", example=points(4), dynamic={"input": {}})
    assert fixed.manifest["inputs"][0]["shape"] == [4, 6]
    free = {"input": {0: "batch", 2: "height", 3: "width"}}
    done = export(nn.Conv2d(1, 2, 3), "torch_export", tmp_path / "free", example=images(2), dynamic=free)
    assert done.manifest["inputs"][0]["shape"] == ["batch", 1, "height", "width"]
    assert done.load()(torch.randn(1, 1, 9, 5)).shape == (1, 2, 7, 3)
    with pytest.raises(ConfigError, match="'inputs', and the student takes input"):
        export(mlp(), "torch_export", tmp_path / "third", example=points(4), dynamic={"inputs": {}})


def test_a_users_own_pipeline_scores_student_and_artefact(tmp_path: Path) -> None:
    """Otherwise a student that is judged by another figure than accuracy is shipped unjudged."""

    class Largest:
        higher_is_better = False

        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
            device = next(model.parameters()).device
            return {"inference_result": max(float(model(batch.to(device)).max()) for batch in data_loader)}

    generator = (batch for batch in points(8).split(4))
    done = export(mlp(), "torch_export", tmp_path / "out", loader=generator, pipeline=Largest())
    score = done.manifest["equality"]["score"]
    with torch.no_grad():
        assert score["student"] == pytest.approx(float(mlp()(points(8)).max()), rel=1e-6)
    assert score["artefact"] == pytest.approx(score["student"], rel=1e-6)
    assert (score["pipeline"], score["higher_is_better"]) == ("Largest", False)


def test_without_labels_the_manifest_says_why_there_is_no_score(tmp_path: Path) -> None:
    """Otherwise a missing score looks like one that was not worth showing."""
    done = export(mlp(), "safetensors", tmp_path / "out", loader=[points(4)])
    assert done.manifest["equality"]["score"] is None
    assert any("No task score" in note for note in done.manifest["notes"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "onxx"}, "Did you mean 'onnx'"),
        ({"quantisation": "statik"}, "Did you mean 'static'"),
        ({"example": None}, "needs an example batch or a loader"),
        ({"example": None, "loader": []}, "gave no batch"),
        ({"tolerance": -1}, "must be a number >= 0"),
        ({"tolerance": {"relativ": 1}}, "Did you mean 'relative'"),
        ({"card": {"licence": "mit"}}, "Did you mean 'license'"),
        ({"pipeline": object()}, "run_inference_pipeline"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Otherwise they surface as a traceback from inside a library, after minutes of tracing."""
    arguments = {"model": mlp(), "form": "safetensors", "directory": tmp_path / "out", "example": points(2), **changes}
    with pytest.raises(ConfigError, match=message):
        export(**arguments)


def test_weights_alone_ask_for_their_model(tmp_path: Path) -> None:
    """Otherwise a user learns only from a traceback that weights hold no code."""
    done: Exported = export(mlp(), "safetensors", tmp_path / "out", example=points(4))
    with pytest.raises(ConfigError, match="pass the model"):
        load(done.path)
    other = mlp()
    nn.init.zeros_(other.head.weight)
    with torch.no_grad():
        torch.testing.assert_close(load(done.path, other)(points(3)), mlp()(points(3)))
    assert not other.head.weight.any()
    with pytest.raises(ConfigError, match="holds no export"):
        load(tmp_path)
