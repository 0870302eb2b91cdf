"""Cases at the edge of what a loss accepts, where ordinary random inputs and the papers' settings never go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import rel_entr
from torch import Tensor

from knowledge_distillation.losses.transformers.patient import Patient, patient
from tests.laws.case import Case, Inputs
from tests.laws.cases_core import kd_from_log_probs_oracle, log_probs
from tests.laws.cases_regression import bounded_oracle
from tests.laws.cases_transformers import QueryFirstKLFromProbs, call_kl_from_probs, patient_oracle, probabilities


def log_probs_with_zeros(generator: torch.Generator, batch: int) -> Inputs:
    """A teacher that rules classes out: probability 0, log-probability -inf."""
    pair = log_probs(generator, batch)
    blocked = torch.arange(7) % 3 == 1
    teacher = torch.as_tensor(pair.teacher).masked_fill(blocked, -math.inf).log_softmax(-1)
    return Inputs(student=pair.student, teacher=teacher)


def close_predictions(generator: torch.Generator, batch: int) -> Inputs:
    """A student that is about as wrong as its teacher, where the margin decides."""
    label, teacher = torch.randn(2, batch, 3, generator=generator, dtype=torch.float64)
    student = teacher + 0.03 * torch.randn(batch, 3, generator=generator, dtype=torch.float64)
    return Inputs(student=student, teacher=teacher, needs={"labels": label})


def right_predictions(inputs: Inputs) -> Inputs:
    same = torch.as_tensor(inputs.student).clone()
    return Inputs(student=inputs.student, teacher=same, needs={"labels": same})


def cut_probabilities(generator: torch.Generator, batch: int) -> Inputs:
    """Attention whose rows lost some keys, so that they no longer sum to 1."""
    whole = probabilities(generator, batch)
    student, teacher = torch.as_tensor(whole.student), torch.as_tensor(whole.teacher)
    return Inputs(student=0.5 * student, teacher=0.75 * teacher)


def cut_probabilities_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = np.asarray(inputs.student), np.asarray(inputs.teacher)
    student, teacher = student / student.sum(-1, keepdims=True), teacher / teacher.sum(-1, keepdims=True)
    return float(rel_entr(teacher, student).sum(-1).mean())


def layers(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = torch.randn(2, 2, batch, 4, 5, generator=generator, dtype=torch.float64)
    return Inputs(student=list(student), teacher=list(teacher))


def every_token(mask: Tensor | None) -> Tensor | None:
    """A sample's mask as a tokenizer gives it; behind the first token it may hold anything."""
    if mask is None:
        return None
    others = torch.arange(3).expand(len(mask), 3) % 2 == 0
    return torch.cat([mask.unsqueeze(1), others], dim=1)


class PatientByTokens(Patient):
    def forward(self, student: Any, teacher: Any, *, mask: Tensor | None = None) -> Tensor:
        return super().forward(student, teacher, mask=every_token(mask))


def call_patient(
    inputs: Inputs, module: object, settings: Mapping[str, Any], mask: Tensor | None = None, **keywords: Any
) -> Tensor:
    return patient(inputs.student, inputs.teacher, mask=every_token(mask), **settings, **keywords)


CASES = [
    Case(
        name="kd_from_log_probs",
        inputs=log_probs_with_zeros,
        oracle=kd_from_log_probs_oracle,
        settings={"temperature": 2.0},
        label="zeros",
    ),
    Case(
        name="bounded_regression",
        inputs=close_predictions,
        oracle=bounded_oracle,
        settings={"margin": 0.25},
        equality=right_predictions,
        label="close",
    ),
    Case(
        name="attention_kl_from_probs",
        inputs=cut_probabilities,
        oracle=cut_probabilities_oracle,
        module=QueryFirstKLFromProbs,
        call=call_kl_from_probs,
        item_axes=2,
        label="cut",
    ),
    Case(
        name="patient",
        inputs=layers,
        oracle=patient_oracle,
        module=PatientByTokens,
        call=call_patient,
        label="token mask",
    ),
]
