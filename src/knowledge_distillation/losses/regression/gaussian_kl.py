"""KL divergence between Gaussian predictions: a mean and a variance for every output."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_same_shape,
    full_precision,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.regression.penalty import check_predictions

# exp(40) is 2e17: the squared error may still be 1e20 without overflow in float32.
LARGEST_LOG_VARIANCE = 40.0


def gaussian_kl(
    student: Tensor | Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """KL(teacher || student) of Gaussian predictions: the student learns the value and how sure to be of it.

    sum over outputs of (v_t / v_s + (m_t - m_s)**2 / v_s - 1 - log(v_t / v_s)) / 2, with mean m and variance v.

    When: the teacher predicts its own noise (heteroscedastic regression) or is an ensemble whose members
    spread. Where it is unsure, the student is left free; `soft_regression` would follow it there too.

    Args:
        student: mean and log variance, each [*items, outputs]; or the mean alone, which then is given the
            teacher's variance: (m_t - m_s)**2 / (2 v_t). Receives gradient.
        teacher: mean and log variance, each [*items, outputs]. Detached inside. Natural logarithms; all
            log variances are limited to -40 to 40.
        mask: shape [*items], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*items].

    Returns:
        Nats: a scalar, or [*items] for "none". 0 when no item counts.

    Raises:
        ShapeError: if a side is not mean and log variance, the shapes differ or lack the output axis, or the
            mask does not match the items.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = [torch.tensor([[1.0]]), torch.tensor([[4.0]]).log()]
        >>> student = [torch.tensor([[2.0]]), torch.tensor([[1.0]]).log()]
        >>> round(gaussian_kl(student, teacher).item(), 4)
        1.3069
        >>> gaussian_kl(student[0], teacher).item()
        0.125

    Reference: Kullback, Leibler (1951) between Gaussians; the log variance as a network's output from
        Kendall, Gal (2017), arXiv:1703.04977.
    """
    teacher_mean, teacher_log_variance = _mean_and_log_variance("teacher", teacher)
    if isinstance(student, Tensor):
        student_mean, student_log_variance = student, teacher_log_variance.detach()
    else:
        student_mean, student_log_variance = _mean_and_log_variance("student", student)
    check_same_shape(student_mean, teacher_mean, "mean")
    check_predictions(student_mean)
    gap = _prepared(student_mean, mask) - _prepared(teacher_mean.detach(), mask)
    ours = _prepared(student_log_variance, mask).clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
    theirs = _prepared(teacher_log_variance.detach(), mask).clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
    log_ratio = theirs - ours
    values = 0.5 * (log_ratio.expm1() - log_ratio + gap.square() * (-ours).exp()).sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


def _prepared(tensor: Tensor, mask: Tensor | None) -> Tensor:
    return full_precision(hide_masked(tensor, mask))


def _mean_and_log_variance(side: str, prediction: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    parts = [prediction] if isinstance(prediction, Tensor) else prediction
    if len(parts) != 2 or parts[0].shape != parts[1].shape:
        raise ShapeError(
            f"{side} must be two tensors of one shape [*items, outputs], mean and log variance, got "
            f"{[tuple(part.shape) for part in parts]}. Without a variance, use `soft_regression`."
        )
    return parts[0], parts[1]


class GaussianKL(Loss):
    """`gaussian_kl` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("regression",),
        signal="means and log variances",
        paper=Paper(
            title="What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?",
            authors="Kendall, Gal",
            year=2017,
            arxiv="1703.04977",
        ),
    )

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, student: Tensor | Sequence[Tensor], teacher: Sequence[Tensor], *, mask: Tensor | None = None
    ) -> Tensor:
        return gaussian_kl(student, teacher, mask=mask, reduction=self.reduction)
