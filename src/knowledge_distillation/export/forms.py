"""Every form in which a student is shipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from knowledge_distillation.export.calls import Plain
from knowledge_distillation.export.equality import Tolerance
from knowledge_distillation.export.int8_form import open_int8_torch, write_int8, write_int8_torch
from knowledge_distillation.export.job import Job
from knowledge_distillation.export.onnx_form import open_onnx, write_onnx
from knowledge_distillation.export.safetensors_form import open_safetensors, write_safetensors
from knowledge_distillation.export.torch_export_form import open_torch_export, write_torch_export


@dataclass(frozen=True, slots=True)
class Form:
    """One form.

    Attributes:
        summary: one line for `kd list exports`.
        write: puts the artefact into a folder; gives "file" and what the manifest tells about it.
        open: the artefact as a callable, tensors in and tensors out, on the CPU; takes the file, the student that
            weights alone belong to, and the inputs' names.
        tolerance: what it may differ from the student by default.
        keeps_dtype: whether weights of lower precision are written as they are, not as float32.
    """

    summary: str
    write: Callable[[Job, Path], dict[str, Any]]
    open: Callable[[Path, Plain | None, Sequence[str]], Callable[..., Sequence[Tensor]]]
    tolerance: Tolerance
    keeps_dtype: bool = False


EXACT = Tolerance(relative=1e-4)
ROUNDED = Tolerance(agreement=0.97, score_drop=0.01, mean_relative=0.1)
FORMS: Mapping[str, Form] = {
    "safetensors": Form(
        "the weights; needs the student's code", write_safetensors, open_safetensors, Tolerance(relative=0.0), True
    ),
    "onnx": Form("one ONNX file for onnxruntime and other engines", write_onnx, open_onnx, EXACT),
    "torch_export": Form("a torch.export program; needs torch only", write_torch_export, open_torch_export, EXACT),
    "int8": Form("an ONNX file with weights of eight bits, by onnxruntime", write_int8, open_onnx, ROUNDED),
    "int8_torch": Form(
        "a torch.export program whose linear layers have eight bits, by torchao",
        write_int8_torch,
        open_int8_torch,
        ROUNDED,
    ),
}
