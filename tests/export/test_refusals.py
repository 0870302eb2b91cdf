"""What goes wrong for a user whose student a format cannot hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from knowledge_distillation.errors import ExportError, MissingExtraError, ModelContractError
from knowledge_distillation.export import export
from tests.export import students
from tests.export.students import Branching, Eigen, FixedBatch, Wordy, inside, mlp, points


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_control_flow_by_value_is_refused_with_module_and_line(form: str, tmp_path: Path) -> None:
    """Otherwise only the branch of the example is shipped, and half of the inputs get a wrong answer."""
    with pytest.raises(ExportError, match=r"'body\.1' \(Branching\), .*students\.py, line \d+.*torch\.where") as error:
        export(inside(Branching()), form, tmp_path / "out", example=points(3))
    line = int(str(error.value).partition(", line ")[2].partition(":")[0])
    assert "hidden.sum() > 0" in Path(students.__file__).read_text().splitlines()[line - 1]
    assert list(tmp_path.iterdir()) == []


def test_an_operator_without_onnx_names_its_module(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Otherwise the user searches a whole network for one operator, in pages of the exporter's own print."""
    with pytest.raises(ExportError, match=r"cannot express aten\.linalg_eig.*'body\.1' \(Eigen\).*'torch_export'"):
        export(inside(Eigen()), "onnx", tmp_path / "out", example=points(3))
    assert capfd.readouterr() == ("", "")
    assert export(inside(Eigen()), "torch_export", tmp_path / "out", example=points(3)).file.is_file()


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_a_batch_size_in_the_code_is_named(form: str, tmp_path: Path) -> None:
    """Otherwise the file answers the example and fails on the first real request."""
    with pytest.raises(ExportError, match=r"axis 0 of 'input'.*dynamic=\{'input': \{\}\}"):
        export(inside(FixedBatch()), form, tmp_path / "out", example=points(3))


def test_a_student_that_answers_one_batch_size_only_is_named(tmp_path: Path) -> None:
    """Otherwise its own RuntimeError looks like a fault of the export."""
    student = nn.Sequential(nn.Linear(6, 4), nn.Unflatten(0, (3, 1)), nn.Flatten(0, 1))
    with pytest.raises(ExportError, match="fails on others than the example's 3"):
        export(student, "onnx", tmp_path / "out", example=points(3))
    done = export(student, "torch_export", tmp_path / "out", example=points(3), dynamic={"input": {}})
    assert done.load()(points(3)).shape == (3, 4)


def test_an_answer_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    """Otherwise an empty artefact is written."""
    with pytest.raises(ModelContractError, match="returned str"):
        export(inside(Wordy()), "onnx", tmp_path / "out", example=points(3))


def test_a_student_that_cannot_be_copied_is_refused(tmp_path: Path) -> None:
    """Otherwise the export works on the student itself and changes it."""
    student = mlp()
    student.last = student(points(2))  # has a graph behind it
    with pytest.raises(ExportError, match=r"copy\.deepcopy failed"):
        export(student, "safetensors", tmp_path / "out", example=points(2))


def test_a_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a user of the small installation reads an ImportError without a way out."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"\[onnx\]"):
        export(mlp(), "onnx", tmp_path / "out", example=points(2))


def test_an_answer_that_differs_from_call_to_call_is_refused(tmp_path: Path) -> None:
    """Otherwise a student with noise of its own is called equal to a file that has none, or fails by chance."""

    class Noisy(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs + torch.randn_like(inputs)

    with pytest.raises(ExportError, match="differs from call to call"):
        export(inside(Noisy()), "torch_export", tmp_path / "out", example=points(3))
