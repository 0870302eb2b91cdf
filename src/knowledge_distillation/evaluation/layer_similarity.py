"""How alike a model and its teacher see the data inside: CKA of pairs of layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from knowledge_distillation.capture.adapters import split_batch
from knowledge_distillation.capture.pairing import Pair, pair
from knowledge_distillation.evaluation.subjects import Subject
from knowledge_distillation.teachers.cache import TaughtBatch
from knowledge_distillation.training.pipelines import to_device

Layers = Mapping[str, str] | Literal["auto"] | None
BATCHES = 4


def layer_similarity(
    subject: Subject, teacher: Subject, batches: Sequence[Any], layers: Layers
) -> dict[str, float] | None:
    """Linear CKA by "model's layer ~ teacher's layer", about 0 (nothing in common) to 1 (the same geometry).

    Args:
        subject: the model.
        teacher: modules on both sides.
        batches: the examples, 4 in a batch at least; 32 or more make it telling.
        layers: model's path -> teacher's path; "auto" pairs every teacher layer by `capture.pair`; None for nothing.

    Returns:
        None where one of them has no layers to look into, or nothing was asked.

    Raises:
        CaptureError: if a path matches nothing, or a model shows no layers.
    """
    if layers is None or subject.module is None or teacher.module is None:
        return None
    if subject.is_sealed or teacher.is_sealed:
        return None
    ours = [_inputs(subject.module, subject, batch) for batch in batches]
    theirs = [_inputs(teacher.module, teacher, batch) for batch in batches]
    if layers == "auto":
        found: Sequence[Pair] = pair(subject.module, teacher.module, ours, teacher_example=theirs, batches=BATCHES)
    else:
        found = [
            proposal
            for student_path, teacher_path in layers.items()
            for proposal in pair(
                subject.module,
                teacher.module,
                ours,
                teacher_example=theirs,
                student_paths=[student_path],
                teacher_paths=[teacher_path],
                batches=BATCHES,
            )
        ]
    return {f"{one.student} ~ {one.teacher}": math.nan if one.cka is None else one.cka for one in found}


def _inputs(module: nn.Module, subject: Subject, batch: Any) -> Any:
    content = batch.content if isinstance(batch, TaughtBatch) else batch
    positional, named, _ = split_batch(to_device(content, subject.device), module)
    return dict(named) if named else tuple(positional)
