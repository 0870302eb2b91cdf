"""Variational information distillation: the student must make the teacher's features likely."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import channel_list, channel_pairs, connect, convolution
from knowledge_distillation.losses.features.maps import Elements, one_size, paired, per_sample
from knowledge_distillation.losses.inputs import check_positive, check_same_shape, full_precision
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def vid(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    log_scale: Tensor,
    smallest_variance: float = 1e-5,
    elements: Elements = "mean",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Variational information distillation: negative log-likelihood of the teacher's features given the student's.

    mean over elements of ((student - teacher)**2 / variance + log variance) / 2, with one variance for each
    channel, softplus(log_scale) + smallest_variance. The constant log(2 pi) / 2 is left out. One value per
    sample.

    When: some of the teacher's channels cannot be predicted; the learned variance lets go of them.

    Args:
        student_features: the regressor's mean, shape [batch, channels, *space]. Receives gradient.
        teacher_features: same shape. Detached inside.
        log_scale: what the variance is made of, shape [channels]. Receives gradient.
        smallest_variance: > 0, squared feature units; 1e-5 in the code of the CRD benchmark.
        elements: "mean" over the elements of a sample, or their "sum", as the paper writes it.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Nats, below 0 where the fit is close: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the shapes or log_scale differ, or the mask does not match the samples.
        ConfigError: if smallest_variance is not positive, or elements or reduction is unknown.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0]]), torch.tensor([[3.0]])
        >>> round(vid(student, teacher, log_scale=torch.zeros(1)).item(), 4)
        2.7021

    Reference: Ahn, Hu, Damianou, Lawrence, Dai (2019), arXiv:1904.05835.

    Differs: the paper adds the elements up (`elements="sum"`); the code of the CRD benchmark takes the mean, as here.
    """
    check_positive("smallest_variance", smallest_variance)
    check_same_shape(student_features, teacher_features, "features")
    student, teacher = paired(student_features, teacher_features, mask)
    if log_scale.shape != student.shape[1:2]:
        raise ShapeError(f"log_scale must have shape ({student.shape[1]},), got {tuple(log_scale.shape)}.")
    variance = F.softplus(full_precision(log_scale)) + smallest_variance
    variance = variance.reshape([1, -1, *[1] * (student.dim() - 2)])
    values = 0.5 * ((student - teacher).square() / variance + variance.log())
    return reduce(per_sample(values, elements), mask=mask, reduction=reduction)


class VID(Loss):
    """`vid` as a module; see there for shapes, units and sources.

    It learns the regressor, three 1x1 convolutions with ReLU between them, and `log_scale`, one variance for
    each of the teacher's channels. The larger map is average-pooled to the size of the smaller before.

    Args:
        student_channels: of the student's map, a whole number above 0; else ConfigError.
        teacher_channels: of the teacher's map, likewise.
        hidden_channels: of the regressor's inner layers, a whole number above 0, else ConfigError. None takes
            teacher_channels.
        first_variance: that every channel starts with, in squared feature units, above smallest_variance, else
            ConfigError; 5 in the code of the CRD benchmark.
    """

    facts = Facts(
        families=("features",),
        signal="feature map",
        paper=Paper(
            title="Variational Information Distillation for Knowledge Transfer",
            authors="Ahn, Hu, Damianou, Lawrence, Dai",
            year=2019,
            arxiv="1904.05835",
        ),
        learns="regressor: three 1x1 convolutions; log_scale: one variance for each teacher channel",
        exceptions={
            "zero_at_equality": "a log-likelihood; at equality half the log of the variance remains",
            "non_negative": "a density may be above 1",
        },
    )

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        hidden_channels: int | None = None,
        first_variance: float = 5.0,
        smallest_variance: float = 1e-5,
        elements: Elements = "mean",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        [(student, teacher)] = channel_pairs(student_channels, teacher_channels)
        [hidden] = channel_list("hidden_channels", teacher if hidden_channels is None else hidden_channels)
        self.regressor = nn.Sequential(
            convolution(student, hidden),
            nn.ReLU(),
            convolution(hidden, hidden),
            nn.ReLU(),
            convolution(hidden, teacher),
        )
        self.smallest_variance = check_positive("smallest_variance", smallest_variance)
        spread = check_positive("first_variance", first_variance) - smallest_variance
        if spread <= 0:
            raise ConfigError(
                f"first_variance must be above smallest_variance, got {first_variance} and {smallest_variance}."
            )
        start = spread + math.log(-math.expm1(-spread))
        self.log_scale = nn.Parameter(torch.full((teacher,), start))
        self.elements: Elements = elements
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        student, teacher = one_size(*paired(student_features, teacher_features, mask))
        return vid(
            connect(self.regressor, student, mask),
            teacher,
            log_scale=self.log_scale,
            smallest_variance=self.smallest_variance,
            elements=self.elements,
            mask=mask,
            reduction=self.reduction,
        )
