"""What the manifest of an export tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.export.calls import Input, constants_of, form_of, positional_of
from knowledge_distillation.export.equality import Tolerance, tolerance_as_dict
from knowledge_distillation.export.exported import file_facts
from knowledge_distillation.export.job import Job, Shipped
from knowledge_distillation.export.prepared import fingerprint, floating_dtype
from knowledge_distillation.export.tracing import output_axes

PACKAGES = ("knowledge-distillation-toolkit", "torch", "safetensors", "onnx", "onnxscript", "onnxruntime", "torchao")


def described(
    form: str, job: Job, shipped: Shipped, model: nn.Module, details: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """All but the proof.

    Args:
        form: its name.
        job: what was written.
        shipped: the copy that was written.
        model: the student itself, out of its wrappers.
        details: what the form tells.
        folder: where the file lies.
    """
    axes = output_axes(job.plain, job.tensors, job.axes)
    return {
        "form": form,
        "files": [file_facts(folder / details["file"])],
        **{key: value for key, value in details.items() if key != "file"},
        "inputs": _input_facts(job.inputs, job.tensors, job.axes),
        "outputs": [
            {"name": name, **_tensor_facts(tensor, vary)}
            for (name, tensor), vary in zip(job.outputs.items(), axes, strict=True)
        ],
        "positional": positional_of(shipped.plain.student, shipped.call),
        "returns": form_of(shipped.call.output),
        "constants": constants_of(shipped.plain.student, shipped.call),
        "student": {
            "class": type(model).__name__,
            "parameters": sum(entry.numel() for entry in model.parameters()),
            "dtype": dtype_name(floating_dtype(model)),
            "shipped_dtype": dtype_name(shipped.dtype),
            "fingerprint": fingerprint(model),
        },
        "versions": _versions(),
    }


def measured(numbers: Mapping[str, Any], allowed: Tolerance, real: int, dtype: torch.dtype) -> dict[str, Any]:
    """The proof: its numbers, what was allowed, and how they were measured.

    Args:
        numbers: of `Differences.as_dict`, with the score.
        allowed: the tolerance.
        real: how many of the batches were real.
        dtype: in which the student answered.
    """
    return {
        **numbers,
        "tolerance": tolerance_as_dict(allowed),
        "how": (
            f"The file was loaded again and asked what the student (in {dtype_name(dtype)}, on the CPU) was asked: "
            f"{real} real batches and {numbers['batches'] - real} other sizes of the "
            "example. Relative: over the largest (max) or mean absolute output of the student. "
            "Agreement: of the highest class."
        ),
    }


def _input_facts(inputs: Sequence[Input], tensors: Sequence[Tensor], axes: Sequence[Mapping[int, str]]) -> list[Any]:
    """Inputs as the manifest tells of them."""
    return [
        {**asdict(entry), "inside": list(entry.inside), **_tensor_facts(tensor, vary)}
        for entry, tensor, vary in zip(inputs, tensors, axes, strict=True)
    ]


def _tensor_facts(tensor: Tensor, vary: Mapping[int, str]) -> dict[str, Any]:
    """Shape, with the names of varying axes, and type."""
    shape = [vary.get(axis, size) for axis, size in enumerate(tensor.shape)]
    return {"shape": shape, "dtype": str(tensor.dtype).removeprefix("torch.")}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def dtype_name(dtype: torch.dtype) -> str:
    """Such as "float32"."""
    return str(dtype).removeprefix("torch.")
