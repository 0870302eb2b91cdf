"""Log-ratios to a mixture of two distributions, exact near equality and safe at underflow."""

from __future__ import annotations

import torch
from torch import Tensor

# Up to this gap of log-probabilities 1 + share * expm1(-gap) is far enough from 0 for any share.
NEAR = 1.0


def log_ratios_to_mixture(student: Tensor, teacher: Tensor, teacher_share: float | Tensor) -> tuple[Tensor, Tensor]:
    """How far the mixture m = teacher_share * p_t + (1 - teacher_share) * p_s lies from each of its parts.

    With the larger of the two probabilities taken out, m / larger is 1 + share of the smaller * expm1(-gap),
    gap = |log p_s - log p_t|: no exponential overflows, nothing is added in probability space, and near
    equality nothing is lost to cancellation.

    Args:
        student: log-probabilities, shape [*batch, classes].
        teacher: same shape.
        teacher_share: weight of the teacher in the mixture, above 0 and below 1; a tensor broadcasts.

    Returns:
        log(m / p_s) and log(m / p_t), shape [*batch, classes].
    """
    if isinstance(teacher_share, Tensor):
        of_teacher, of_student = teacher_share, 1.0 - teacher_share
    else:
        of_teacher, of_student = student.new_full((), teacher_share), student.new_full((), 1.0 - teacher_share)
    difference = student - teacher
    gap = difference.abs()
    smaller = torch.where(difference > 0, of_teacher, of_student)
    larger = torch.where(difference > 0, of_student, of_teacher)
    near = torch.log1p(smaller * torch.expm1(-gap.clamp(max=NEAR)))
    far = torch.log(larger + smaller * torch.exp(-gap))
    from_larger = torch.where(gap < NEAR, near, far)
    return from_larger + torch.relu(-difference), from_larger + torch.relu(difference)
