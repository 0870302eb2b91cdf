"""One ONNX export that many tests look at, because tracing takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from knowledge_distillation.export import Exported, export
from tests.export.students import cnn, images, labelled, mlp, points


@pytest.fixture(scope="session")
def student() -> nn.Module:
    return mlp()


@pytest.fixture(scope="session")
def onnx_export(student: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    return export(student, "onnx", folder, loader=labelled(student, points()), card={"license": "apache-2.0"})


@pytest.fixture(scope="session")
def convolutions() -> nn.Module:
    return cnn()


@pytest.fixture(scope="session")
def static_export(convolutions: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder: Path = tmp_path_factory.mktemp("exports") / "int8"
    loader = labelled(convolutions, images(), 6)
    return export(convolutions, "int8", folder, loader=loader, tolerance={"agreement": 0.8})
