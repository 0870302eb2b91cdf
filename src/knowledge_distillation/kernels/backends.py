"""Three ways to compute the same rows: plain PyTorch by small blocks, torch.compile, and Triton."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from knowledge_distillation.kernels.forward_rows import fits_forward_rows, forward_rows
from knowledge_distillation.kernels.rows import rows
from knowledge_distillation.kernels.softening import FLOAT64_FROM_TEMPERATURE
from knowledge_distillation.kernels.task import Task

Backend = Literal["auto", "chunked", "compiled", "triton"]
RowsOf = Callable[..., Tensor]
"""As `rows.rows`."""

# Scores in one block: its few copies stay in a processor's cache between the steps of the computation.
BLOCK = 2**18


def backend_named(name: Backend, task: Task, device: torch.device) -> RowsOf:
    """The function that computes rows. "auto" takes Triton on CUDA where it can, else "chunked"."""
    if name == "compiled":
        return compiled()
    if name == "triton" or (name == "auto" and device.type == "cuda" and fits_triton(task)):
        from knowledge_distillation.kernels.triton_rows import triton_rows

        return triton_rows
    return chunked


def fits_triton(task: Task) -> bool:
    """Whether Triton is installed and its float32 is precise enough."""
    return importlib.util.find_spec("triton") is not None and task.temperature <= FLOAT64_FROM_TEMPERATURE


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
    if on_processor and fits_forward_rows(task, known, labels, out):
        room = torch.empty((3, min(size, count), classes), dtype=soft.dtype)
    for start in range(0, count, size):
        part = slice(start, start + size)
        ours, theirs = scores[part], teacher[part]
        beside = [None if tensor is None else tensor[part] for tensor in (labels, soft, hard, out)]
        if room is None:
            named = None if known is None else known[part]
            values[part] = rows(task, ours, theirs, named, *beside)  # type: ignore[arg-type]
        else:
            values[part] = forward_rows(task, ours, theirs, *beside, room[:, : len(ours)])  # type: ignore[arg-type]
    return values


@cache
def compiled() -> RowsOf:
    """`rows.rows` as one compiled function for the whole process."""
    function: RowsOf = torch.compile(rows)
    return function
