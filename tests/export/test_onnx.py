"""What goes wrong for a user whose ONNX file is not the student."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from knowledge_distillation.errors import ExportError
from knowledge_distillation.export import Exported, export, load
from knowledge_distillation.export.calls import Input
from knowledge_distillation.export.pooling import MatrixPool2d, means
from knowledge_distillation.export.tracing import dynamic_axes
from tests.export.students import Recurrent, points


def test_numpy_gets_the_students_answer_from_the_files_weights(student: nn.Module, onnx_export: Exported) -> None:
    """Otherwise the file holds other weights than were trained, and only our own reader agrees with itself."""
    model = onnx.load(str(onnx_export.file))
    weights = {
        entry.name.removeprefix("student."): onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer
    }
    inputs = points(5).numpy().astype(np.float64)
    hidden = np.maximum(inputs @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    expected = hidden @ weights["head.weight"].T + weights["head.bias"]
    np.testing.assert_allclose(onnx_export.load()(points(5)).numpy(), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(student(points(5)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_file_is_valid_small_and_tells_nothing_of_this_machine(onnx_export: Exported) -> None:
    """Otherwise it ships stack traces with the author's paths, which also outweigh a small student."""
    onnx.checker.check_model(str(onnx_export.file), full_check=True)
    content = onnx_export.file.read_bytes()
    assert b"/" not in content.replace(b"/torch", b"") or b".py" not in content
    weights = sum(int(np.prod(entry.dims)) * 4 for entry in onnx.load(str(onnx_export.file)).graph.initializer)
    assert len(content) - weights < 1200


def test_axes_that_vary_are_named_and_do_vary(onnx_export: Exported) -> None:
    """Otherwise the file answers only batches of the example's size."""
    graph = onnx.load(str(onnx_export.file)).graph
    assert [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == ["batch", 6]
    assert [dim.dim_param or dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim] == ["batch", 4]
    assert onnx_export.manifest["equality"]["batch_sizes"] == [1, 4, 8, 9]
    assert [onnx_export.load()(points(count)).shape[0] for count in (1, 3, 50)] == [1, 3, 50]


def test_the_manifest_tells_what_the_file_is(student: nn.Module, onnx_export: Exported) -> None:
    """Otherwise nobody knows later which file was proven equal to which student."""
    manifest = json.loads((onnx_export.path / "manifest.json").read_text())
    assert manifest == onnx_export.as_dict()
    content = onnx_export.file.read_bytes()
    assert manifest["files"] == [
        {"name": "student.onnx", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    ]
    assert manifest["opset"] == onnx.load(str(onnx_export.file)).opset_import[0].version
    assert manifest["student"]["parameters"] == sum(entry.numel() for entry in student.parameters())
    assert manifest["inputs"][0] | {"shape": ["batch", 6], "dtype": "float32"} == manifest["inputs"][0]
    equality = manifest["equality"]
    assert equality["max_relative"] < 1e-5
    assert equality["agreement"] == 1.0
    assert equality["score"]["student"] == equality["score"]["artefact"] == 1.0


def test_a_changed_file_is_not_loaded(onnx_export: Exported, tmp_path) -> None:
    """Otherwise a damaged or exchanged file answers under the name of the proven one."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in onnx_export.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    load(copy)
    with (copy / "student.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ExportError, match="not the file that was proven"):
        load(copy)


def test_a_recurrent_student_takes_sequences_of_any_length(tmp_path) -> None:
    """Otherwise a loop over the example's time steps is shipped, which no other sentence fits."""
    student = Recurrent()
    done = export(student, "onnx", tmp_path / "onnx", example={"input_ids": torch.randint(20, (2, 5))})
    assert done.manifest["inputs"][0]["shape"] == ["batch", "sequence"]
    assert any("older one" in note for note in done.manifest["notes"])
    tokens = torch.randint(20, (3, 11))
    with torch.no_grad():
        torch.testing.assert_close(done.load()(input_ids=tokens), student(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "bins"), [(7, 4), (7, 3), (10, 3), (5, 5), (3, 7)])
def test_pooling_by_matrices_is_adaptive_pooling(size: int, bins: int) -> None:
    """Otherwise every student with such a pool is shipped with other features than it was trained with."""
    torch.testing.assert_close(means(size, bins).sum(dim=1), torch.ones(bins))
    inputs = torch.randn(2, 3, size, size + 1)
    torch.testing.assert_close(
        MatrixPool2d((bins, None))(inputs),
        nn.functional.adaptive_avg_pool2d(inputs, (bins, None)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_recordings_vary_in_length_with_their_mask() -> None:
    """Otherwise a speech model is shipped for recordings of one length."""
    inputs = [Input(name, name, ()) for name in ("input_values", "attention_mask")]
    recordings, mask = torch.zeros(2, 50), torch.ones(2, 50, dtype=torch.int64)
    vary = {0: "batch", 1: "sequence"}
    assert dynamic_axes(inputs, [recordings, mask], None) == [vary, vary]
    assert dynamic_axes(inputs[:1], [recordings], None) == [{0: "batch"}]  # features of a table keep their number
