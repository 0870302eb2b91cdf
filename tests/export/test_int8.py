"""What goes wrong for a user whose eight-bit file is larger, or another student, than they think."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.regression import MeanSquaredError

from knowledge_distillation.domains.vision.models import small_cnn
from knowledge_distillation.errors import ConfigError, ExportError
from knowledge_distillation.export import Exported, export
from knowledge_distillation.training.metric_pipeline import MetricPipeline
from tests.export.students import Recurrent, cnn, images, labelled, lopsided, mlp, points
from tests.training.toys import filled, seeded


@pytest.mark.slow
def test_integers_times_scales_are_the_students_weights(convolutions: nn.Module, static_export: Exported) -> None:
    """Otherwise a channel has the scale of another, or what BatchNorm does to a weight is lost."""
    folded = nn.utils.fuse_conv_bn_eval(convolutions[0].eval(), convolutions[1].eval())
    wanted = [folded.weight, convolutions[3].weight, convolutions[7].weight]
    graph = onnx.load(str(static_export.file)).graph
    held = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and held.get(node.input[0]) is not None:
            integers, scale, zero = (torch.tensor(held[name]) for name in node.input)
            if integers.dtype == torch.int8 and integers.dim() > 1:
                assert not zero.any()
                assert scale.numel() == integers.shape[0]
                found.append(integers.float() * scale.reshape(-1, *[1] * (integers.dim() - 1)))
    in_float = [torch.tensor(value) for value in held.values() if value.dtype == "float32" and value.ndim == 4]
    assert static_export.manifest["quantisation"]["in_float"]
    assert len(found) == 2
    for weight in wanted:
        candidates = [other for other in (*found, *in_float) if other.shape == weight.shape]
        assert len(candidates) == 1
        # half a step of each output's grid
        step = weight.detach().flatten(1).abs().amax(dim=1) / 127
        distance = (candidates[0] - weight.detach()).flatten(1).abs().amax(dim=1)
        assert bool((distance <= 0.51 * step + 1e-6).all())


def test_the_manifest_says_what_was_quantised(static_export: Exported) -> None:
    """Otherwise nobody knows that some layers stayed in float, or on how much data the ranges rest."""
    told = static_export.manifest["quantisation"]
    assert (told["way"], told["calibration_batches"]) == ("static", 2)
    assert static_export.manifest["bytes_before"] > static_export.file.stat().st_size
    assert [static_export.load()(images(count)).shape for count in (1, 2, 7)] == [(1, 4), (2, 4), (7, 4)]


@pytest.mark.slow
def test_a_student_of_50000_parameters_is_3_and_a_half_times_smaller(tmp_path) -> None:
    """Otherwise names, scales and folded copies eat what eight bits save."""
    student = filled(small_cnn(width=28), 0)
    loader = [torch.randn(8, 1, 28, 28, generator=seeded(0))]
    done = export(student, "int8", tmp_path / "out", loader=loader, tolerance={})
    assert done.manifest["quantisation"]["way"] == "static"
    exact = 4 * sum(entry.numel() for entry in student.parameters())
    assert exact <= done.manifest["bytes_before"] <= 1.02 * exact
    assert exact >= 3.5 * done.file.stat().st_size


def test_dynamic_is_taken_where_nothing_convolves(tmp_path) -> None:
    """Otherwise text students get the ranges of sixteen batches for activations that vary with every sentence."""
    done = export(mlp(), "int8", tmp_path / "out", loader=labelled(mlp(), points()), tolerance={"agreement": 0.8})
    assert done.manifest["quantisation"]["way"] == "dynamic"
    kinds = {node.op_type for node in onnx.load(str(done.file)).graph.node}
    assert "DynamicQuantizeLinear" in kinds


def test_dynamic_is_taken_where_something_attends(tmp_path) -> None:
    """Otherwise a student of speech, whose first layers convolve, makes three times its errors."""
    attends = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    student = filled(nn.Sequential(nn.Conv1d(4, 16, 3, padding=1), Turned(), attends, nn.Linear(16, 5)), 0)
    loader = [torch.randn(4, 4, 10, generator=seeded(0))]
    done = export(student, "int8", tmp_path / "out", loader=loader, tolerance={})
    assert done.manifest["quantisation"]["way"] == "dynamic"


class Turned(nn.Module):
    """[batch, channels, time] to [batch, time, channels]."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.transpose(1, 2)


def test_a_recurrent_student_in_eight_bits_keeps_its_loops(tmp_path) -> None:
    """Otherwise renaming what a loop sees around it gives a file that does not load."""
    tokens = torch.randint(20, (4, 6), generator=seeded(0))
    done = export(
        Recurrent(), "int8", tmp_path / "out", example={"input_ids": tokens}, tolerance={"mean_relative": 0.2}
    )
    assert done.load()(input_ids=tokens[:3]).shape == (3, 4)


@pytest.mark.slow
def test_a_student_without_weights_worth_rounding_is_refused(tmp_path) -> None:
    """Otherwise a file is called int8 and holds floats alone."""
    with pytest.raises(ExportError, match="No weight of the student could be quantised"):
        export(nn.Linear(6, 4), "int8", tmp_path / "out", example=points(4))
    with pytest.raises(ExportError, match=r"torchao quantises linear layers.*'int8'"):
        export(nn.Conv2d(1, 2, 3), "int8_torch", tmp_path / "out", example=images(2))
    with pytest.raises(ConfigError, match="needs a loader to calibrate on"):
        export(cnn(), "int8", tmp_path / "out", example=images(2), quantisation="static")
    assert list(tmp_path.iterdir()) == []


def test_a_student_that_eight_bits_ruin_is_refused(tmp_path) -> None:
    """Otherwise it is shipped with the accuracy that the student had before it was rounded."""
    student = lopsided(mlp(96))
    with pytest.raises(ExportError, match=r"the score falls from 1\.0000 to .*nothing was written.*quantisation_aware"):
        export(student, "int8", tmp_path / "out", loader=labelled(student, points(200), 200))
    assert list(tmp_path.iterdir()) == []


class Falls:
    """Gives the student 1 and what is asked next a half."""

    def __init__(self, answers_classes: bool) -> None:
        self.answers_classes = answers_classes
        self.values = iter([1.0, 0.5])

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, float]:
        return {"inference_result": next(self.values)}


def test_the_largest_number_of_a_vector_does_not_make_up_for_a_score_that_falls(tmp_path: Path) -> None:
    """Otherwise an embedding whose neighbours are lost is shipped, because its largest entry is still the largest."""
    given = [points(16)]
    shipped = export(mlp(), "int8", tmp_path / "classes", loader=given, pipeline=Falls(True))
    assert shipped.manifest["equality"]["agreement"] >= 0.97
    with pytest.raises(ExportError, match=r"the score falls from 1\.0000 to 0\.5000") as raised:
        export(mlp(), "int8", tmp_path / "vectors", loader=given, pipeline=Falls(False))
    assert "highest class" not in str(raised.value)


def test_of_several_numbers_the_highest_is_no_class(tmp_path: Path) -> None:
    """Otherwise a regression of several targets is said to name the same class, and may be wrong by any amount."""
    inputs = points(16)
    with torch.no_grad():
        told = mlp()(inputs) + 0.1
    loader = DataLoader(TensorDataset(inputs, told), 8)
    done = export(mlp(), "int8", tmp_path / "out", loader=loader, pipeline=MetricPipeline(MeanSquaredError()))
    assert done.manifest["equality"]["agreement"] is None
    assert done.manifest["equality"]["score"]["student"] == pytest.approx(0.01, rel=1e-3)
