"""The student as a torch.export program: runs in any Python with torch, without the student's code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.export.calls import Plain
from knowledge_distillation.export.job import Job
from knowledge_distillation.export.opening_programs import open_program
from knowledge_distillation.export.tracing import quiet, traced


def write_torch_export(job: Job, folder: Path) -> dict[str, Any]:
    """Write student.pt2.

    Raises:
        ExportError: if torch.export refuses; names the module and the line.
    """
    program = traced(job.plain, job.tensors, job.axes)
    file = folder / "student.pt2"
    with quiet():
        torch.export.save(program, file)
    return {"file": file.name, "exporter": "torch.export"}


def open_torch_export(file: Path, structure: Plain | None, names: Sequence[str]) -> Callable[..., Sequence[Tensor]]:
    """A callable on tensors that runs the program; errors as of `open_program`."""
    module = open_program(file)

    def answer(*tensors: Tensor) -> list[Tensor]:
        with quiet():
            return list(module(*tensors))

    return answer
