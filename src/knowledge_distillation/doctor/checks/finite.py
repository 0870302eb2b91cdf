"""NaN or infinity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import split_batch
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell, tensors_in
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.teachers.cache import TaughtBatch

HARM = "The loss becomes NaN, and the student's weights with it."


def finite(patient: Patient) -> Iterator[Finding]:
    """Inputs, a model's answers or a term hold NaN or infinity; a NaN among labels says that one is not known."""
    bad = 0
    for batch in patient.batches:
        content = batch.content if isinstance(batch, TaughtBatch) else batch
        bad += sum(_count(leaf) for leaf in tensors_in(content)) - _unlabelled(content)
    if bad:
        yield Finding(
            "error",
            "The training data hold NaN or infinity.",
            f"{bad} numbers in the {len(patient.batches)} batches that were looked at.",
            HARM,
            "Look at divisions by a deviation of 0, logarithms of 0 and missing values in the preprocessing.",
        )
        return
    sick: list[str] = []
    for whose in ("student", "teacher"):
        try:
            logits = logits_or_none(patient.said if whose == "student" else patient.taught)
        except CannotTell:
            continue
        nan = int(torch.isnan(logits).sum()) if logits is not None else 0
        infinite = int(torch.isposinf(logits).sum()) if logits is not None else 0
        if logits is not None and nan + infinite:
            sick.append(whose)
            yield Finding(
                "error",
                f"The {whose} answers NaN or infinity.",
                f"{nan} NaN and {infinite} infinite of {logits.numel()} logits on the first batch.",
                HARM,
                "Look for overflow in half precision, empty inputs, and weights that are damaged.",
            )
    if sick:
        return
    for look in patient.terms:
        if look.value is not None and not math.isfinite(look.value):
            yield Finding(
                "error",
                f"Term {look.name!r} is {look.value} on the first batch.",
                "Its two signals are finite.",
                HARM,
                "Look for logarithms of 0 and divisions by 0 in the loss.",
            )


def _count(leaf: Tensor) -> int:
    return int((~torch.isfinite(leaf)).sum()) if leaf.is_floating_point() else 0


def _unlabelled(batch: Any) -> int:
    """How many labels that are numbers are not known."""
    try:
        labels = split_batch(batch)[2]
    except ModelContractError:
        return 0
    return int(labels.isnan().sum()) if isinstance(labels, Tensor) and labels.is_floating_point() else 0
