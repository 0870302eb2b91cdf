"""What goes wrong for a user who loads a file where the program that wrote it never ran."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from knowledge_distillation.export import Exported, export
from tests.export.students import CLASSES, FEATURES, images, mlp, points

pytestmark = pytest.mark.slow

ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession(file)
answer, = session.run(None, {session.get_inputs()[0].name: inputs})
"""
PROGRAM = """
import torch
answer = torch.export.load(file).module()(torch.from_numpy(inputs))[0].detach().numpy()
"""
WEIGHTS = f"""
import torch
from collections import OrderedDict
from safetensors.torch import load_model
from torch import nn
layers = dict(hidden=nn.Linear({FEATURES}, 48), act=nn.ReLU(), head=nn.Linear(48, {CLASSES}))
student = nn.Sequential(OrderedDict(layers))
load_model(student, file)
answer = student(torch.from_numpy(inputs)).detach().numpy()
"""
QUANTISED_PROGRAM = f"import torchao.quantization\n{PROGRAM}"


def answered(code: str, file: Path, inputs: torch.Tensor, folder: Path) -> torch.Tensor:
    """What another Python gets from the file, which has everything but this toolkit."""
    np.save(folder / "inputs.npy", inputs.numpy())
    script = f"""
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
file, inputs = sys.argv[1], np.load("inputs.npy")
{code}
assert not any(name.startswith("knowledge_distillation") for name in sys.modules)
np.save("answer.npy", answer)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(file)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return torch.from_numpy(np.load(folder / "answer.npy"))


def test_onnx(student: nn.Module, onnx_export: Exported, tmp_path: Path) -> None:
    """Otherwise the file leans on something of the process that wrote it."""
    found = answered(ONNX, onnx_export.file, points(7), tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(found, student.eval()(points(7)), rtol=1e-4, atol=1e-5)


def test_int8(static_export: Exported, tmp_path: Path) -> None:
    """Otherwise a file of integers is proven by one runtime session alone."""
    found = answered(ONNX, static_export.file, images(5), tmp_path)
    torch.testing.assert_close(found, static_export.load()(images(5)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("form", "code", "distance"),
    [("safetensors", WEIGHTS, 1e-6), ("torch_export", PROGRAM, 1e-5), ("int8_torch", QUANTISED_PROGRAM, 0.2)],
)
def test_the_other_forms(form: str, code: str, distance: float, tmp_path: Path) -> None:
    """Otherwise a user needs the toolkit, or the script that trained, to run what they shipped."""
    done = export(mlp(), form, tmp_path / form, example=points(4), tolerance={})
    found = answered(code, done.file, points(7), tmp_path)
    with torch.no_grad():
        expected = mlp().eval()(points(7))
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= distance * float(expected.abs().max())
