"""Divergences of two distributions, and how each changes with the student's log-probabilities: no graph is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from knowledge_distillation.kernels.log_ratios import log_ratios_to_mixture


class Pair(NamedTuple):
    """Student and teacher over the same outcomes, all shape [rows, outcomes]."""

    log_student: Tensor
    log_teacher: Tensor
    student: Tensor
    """exp(log_student)"""
    teacher: Tensor

    @classmethod
    def of(cls, log_student: Tensor, log_teacher: Tensor) -> Pair:
        """The pair of two log-probabilities."""
        return cls(log_student, log_teacher, log_student.exp(), log_teacher.exp())


Slope = Callable[[Pair, float], tuple[Tensor, Tensor]]
"""(pair, share) -> value [rows] and d value / d log_student [rows, outcomes].

A multiple of the student's probabilities may be missing from the slope: it falls out of the gradient of logits,
slope - student * sum(slope).
"""


def forward_kl(pair: Pair, share: float) -> tuple[Tensor, Tensor]:
    """KL(teacher || student). Adding p_s - p_t, which sums to 0, cancels the rounding of the products."""
    summands = pair.teacher * (pair.log_teacher - pair.log_student)
    return summands.add_(pair.student).sub_(pair.teacher).sum(dim=-1), -pair.teacher


def reverse_kl(pair: Pair, share: float) -> tuple[Tensor, Tensor]:
    """KL(student || teacher)."""
    summands = pair.student * (pair.log_student - pair.log_teacher)
    return summands.sum(dim=-1), summands


def generalized_jsd(pair: Pair, share: float) -> tuple[Tensor, Tensor]:
    """share * KL(teacher || m) + (1 - share) * KL(student || m), m with the teacher's share; at 0 and 1 the two KL."""
    if share == 0.0:
        return forward_kl(pair, share)
    if share == 1.0:
        return reverse_kl(pair, share)
    to_student, to_teacher = log_ratios_to_mixture(pair.log_student, pair.log_teacher, share)
    slope = pair.student * to_student * (share - 1.0)
    # A term is convex in p_s / p_t with its minimum, 0, at p_s = p_t: what lies below is rounding.
    terms = (slope - share * pair.teacher * to_teacher).clamp(min=0.0)
    return terms.sum(dim=-1), slope


def skew_forward_kl(pair: Pair, share: float) -> tuple[Tensor, Tensor]:
    """KL(teacher || m), m with the teacher's share."""
    to_student, to_teacher = log_ratios_to_mixture(pair.log_student, pair.log_teacher, share)
    slope = pair.teacher * torch.exp(-to_student) * (share - 1.0)
    return -(pair.teacher * to_teacher).sum(dim=-1), slope


def skew_reverse_kl(pair: Pair, share: float) -> tuple[Tensor, Tensor]:
    """KL(student || m), m with the student's share."""
    to_student, _ = log_ratios_to_mixture(pair.log_student, pair.log_teacher, 1.0 - share)
    summands = -(pair.student * to_student)
    return summands.sum(dim=-1), summands - share * pair.student * torch.exp(-to_student)


def tvd(pair: Pair, share: float) -> tuple[Tensor, Tensor]:
    """Half of sum |p_t - p_s|."""
    difference = pair.student - pair.teacher
    return 0.5 * difference.abs().sum(dim=-1), 0.5 * pair.student * difference.sign()


SLOPES: Mapping[str, Slope] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "generalized_jsd": generalized_jsd,
    "skew_forward_kl": skew_forward_kl,
    "skew_reverse_kl": skew_reverse_kl,
    "tvd": tvd,
}
