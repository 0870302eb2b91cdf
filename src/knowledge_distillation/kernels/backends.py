"""Three ways to compute the same rows: plain PyTorch by small blocks, torch.compile, and Triton."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, MissingExtraError
from knowledge_distillation.kernels.forward_rows import fits_forward_rows, forward_rows
from knowledge_distillation.kernels.rows import rows
from knowledge_distillation.kernels.task import Task

Backend = Literal["auto", "chunked", "compiled", "triton"]
RowsOf = Callable[..., Tensor]
"""As `rows.rows`."""

# Scores in one block: its few copies stay in a processor's cache between the steps of the computation.
BLOCK = 2**19


def backend_named(name: Backend, precision: torch.dtype, device: torch.device) -> RowsOf:
    """The function that computes rows; "auto" takes Triton on CUDA where it is precise enough, else "chunked".

    Args:
        name: see `Backend`.
        precision: that the values are wanted in, float32 or float64.
        device: of the tensors.

    Raises:
        MissingExtraError: if Triton is asked for and not installed.
        ConfigError: if it is asked for what it cannot do.
    """
    if name == "compiled":
        return compiled()
    if name == "chunked" or (name == "auto" and (device.type != "cuda" or not fits_triton(precision, device))):
        return chunked
    if importlib.util.find_spec("triton") is None:
        raise MissingExtraError(
            "backend 'triton' needs Triton, which PyTorch for CUDA brings along on Linux. Use backend 'auto'."
        )
    if not fits_triton(precision, device):
        raise ConfigError(
            f"backend 'triton' computes float32 on CUDA, got tensors on {device} and a loss that is taken in "
            f"{precision}, as float64 inputs and temperatures above 8 are. Use backend 'auto'."
        )
    from knowledge_distillation.kernels.triton_rows import triton_rows

    return triton_rows


def fits_triton(precision: torch.dtype, device: torch.device) -> bool:
    """Whether Triton's kernels can run there, on a GPU or in its interpreter, and are precise enough."""
    runs = device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    return runs and precision == torch.float32 and importlib.util.find_spec("triton") is not None


def chunked(
    task: Task,
    scores: Tensor,
    teacher: Tensor,
    known: Tensor | None,
    labels: Tensor | None,
    soft: Tensor,
    hard: Tensor,
    out: Tensor | None,
) -> Tensor:
    """`rows.rows` in blocks on a processor, at once elsewhere."""
    count, classes = scores.shape
    on_processor = scores.device.type == "cpu"
    size = max(1, BLOCK // classes) if on_processor else max(1, count)
    values = torch.empty_like(soft)
    room = None
    if on_processor and fits_forward_rows(task, known, labels):
        room = torch.empty((3, min(size, count), classes), dtype=soft.dtype)
    for start in range(0, count, size):
        part = slice(start, start + size)
        ours, theirs, weights = scores[part], teacher[part], (soft[part], hard[part])
        target = None if out is None else out[part]
        named = None if known is None else known[part]
        classed = None if labels is None else labels[part]
        found = None
        if room is not None and target is not None:
            found = forward_rows(task, ours, theirs, classed, *weights, target, room[:, : len(ours)])
        values[part] = rows(task, ours, theirs, named, classed, *weights, target) if found is None else found
    return values


@cache
def compiled() -> RowsOf:
    """`rows.rows` as one compiled function for the whole process."""
    function: RowsOf = torch.compile(rows)
    return function
