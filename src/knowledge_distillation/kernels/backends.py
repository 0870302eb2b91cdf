"""Three ways to compute the same rows: plain PyTorch by small blocks, torch.compile, and Triton."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from knowledge_distillation.kernels.rows import rows
from knowledge_distillation.kernels.softening import FLOAT64_FROM_TEMPERATURE
from knowledge_distillation.kernels.task import Task

Backend = Literal["auto", "chunked", "compiled", "triton"]
RowsOf = Callable[..., Tensor]
"""As `rows.rows`."""

# Scores in one block: its few copies stay in a processor's cache between the steps of the computation.
BLOCK = 2**19


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
    size = max(1, BLOCK // classes) if scores.device.type == "cpu" else count
    values = []
    for start in range(0, count, size):
        part = slice(start, start + size)
        given = [None if tensor is None else tensor[part] for tensor in (known, labels, soft, hard, out)]
        values.append(rows(task, scores[part], teacher[part], *given))  # type: ignore[arg-type]
    return torch.cat(values)


@cache
def compiled() -> RowsOf:
    """`rows.rows` as one compiled function for the whole process."""
    function: Any = torch.compile(rows, dynamic=None)
    return function  # type: ignore[no-any-return]
