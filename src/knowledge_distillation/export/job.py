"""What every form is written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from knowledge_distillation.export.calls import Call, Input, Plain


@dataclass(frozen=True, slots=True)
class Shipped:
    """The copy of a student that is shipped.

    Attributes:
        plain: tensors in and tensors out.
        call: the one that it was made for.
        dtype: of its weights.
    """

    plain: Plain
    call: Call
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Job:
    """One student to write.

    Attributes:
        plain: the copy to ship, tensors in and tensors out.
        inputs: of the student.
        tensors: an example of each input; varying axes have size 2 or more.
        axes: varying axes of each input.
        outputs: name -> example.
        calibration: example inputs for static quantisation; may be empty.
        quantisation: "auto", "static" or "dynamic".
        opset: of ONNX; None for the exporter's own.
        notes: what the manifest must tell besides; forms add to it.
    """

    plain: Plain
    inputs: Sequence[Input]
    tensors: Sequence[Tensor]
    axes: Sequence[Mapping[int, str]]
    outputs: Mapping[str, Tensor]
    calibration: Iterable[Sequence[Tensor]] = ()
    quantisation: str = "auto"
    opset: int | None = None
    notes: list[str] = field(default_factory=list)
