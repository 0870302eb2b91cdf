"""Cases at the edge of what a loss accepts, where ordinary random inputs never go."""

from __future__ import annotations

import math

import torch

from tests.laws.case import Case, Inputs
from tests.laws.cases_core import kd_from_log_probs_oracle, log_probs


def log_probs_with_zeros(generator: torch.Generator, batch: int) -> Inputs:
    """A teacher that rules classes out: probability 0, log-probability -inf."""
    pair = log_probs(generator, batch)
    teacher = pair.teacher.masked_fill(torch.arange(7) % 3 == 1, -math.inf).log_softmax(-1)
    return Inputs(student=pair.student, teacher=teacher)


CASES = [
    Case(
        name="kd_from_log_probs",
        inputs=log_probs_with_zeros,
        oracle=kd_from_log_probs_oracle,
        settings={"temperature": 2.0},
        equality=lambda inputs: Inputs(student=inputs.student, teacher=inputs.student.detach().clone()),
        label="zeros",
    ),
]
