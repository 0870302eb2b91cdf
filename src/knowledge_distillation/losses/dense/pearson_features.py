"""Pearson correlation between feature maps, for detectors of different make."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

# mmrazor's guard against channels that do not vary
SMALL = 1e-6


def pkd_features(
    student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Half the mean squared difference of standardised channels: 1 - Pearson correlation, channel by channel.

    z = (f - mean) / (standard deviation + 1e-6), both taken per channel over the batch and all pixels, with
    n - 1 in the deviation; a sample's value is the mean over channels and pixels of (z_s - z_t)**2 / 2.

    When: teacher and student differ in kind (two-stage and one-stage, other heads): only the pattern of the
    feature pyramid is compared, not its level and scale. Add one such term for each level.

    Args:
        student_features: shape [batch, channels, height, width]. Receives gradient. Resized (bilinear) to the
            teacher's height and width if these differ.
        teacher_features: shape [batch, channels, height, width]. Detached inside.
        mask: shape [batch], True where the sample counts; masked samples stay out of the statistics.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless, from 0 (proportional channels) to 2: a scalar, or [batch] for "none". 0 when no sample
        counts. mmrazor's configurations weigh each level with 6 for two-stage teachers, with 10 for one-stage
        ones.

    Raises:
        ShapeError: if batch or channels differ, or the mask is not [batch].
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[1.0, 2.0, 3.0]]]])
        >>> student = torch.tensor([[[[1.0, 5.0, 6.0]]]])
        >>> round(pkd_features(student, teacher).item(), 4)
        0.0367

    Reference: Cao, Zhang, Gao, Cheng, Cheng, Zhang (2022), arXiv:2207.02039.

    Differs: not `pkd`, the patient distillation of BERT, which has the same initials. A channel that is
        constant over the batch counts as 0 and gets no gradient, where mmrazor's code divides by 1e-6.
    """
    if (
        student_features.dim() != 4
        or teacher_features.dim() != 4
        or student_features.shape[:2] != teacher_features.shape[:2]
    ):
        raise ShapeError(
            f"student_features and teacher_features must be [batch, channels, height, width] with equal batch and "
            f"channels: student {tuple(student_features.shape)}, teacher {tuple(teacher_features.shape)}. Channels "
            "would be paired wrongly; put a 1x1 convolution on the student."
        )
    student = full_precision(hide_masked(student_features, mask))
    teacher = full_precision(hide_masked(teacher_features.detach(), mask))
    if student.shape[2:] != teacher.shape[2:]:
        student = F.interpolate(student, size=teacher.shape[2:], mode="bilinear")
    gaps = (standardised(student, mask) - standardised(teacher, mask)).square() / 2.0
    return reduce(gaps.mean(dim=(1, 2, 3)), mask=mask, reduction=reduction)


def standardised(features: Tensor, mask: Tensor | None) -> Tensor:
    """Each channel at mean 0 and deviation 1 over the counted samples and all pixels."""
    counted = torch.ones_like(features[:, :1, :1, :1]) if mask is None else mask.to(features).reshape(-1, 1, 1, 1)
    pixels = counted.sum() * features[0, 0].numel()
    mean = (features * counted).sum(dim=(0, 2, 3), keepdim=True) / pixels.clamp(min=1)
    centred = features - mean
    variance = (centred.square() * counted).sum(dim=(0, 2, 3), keepdim=True) / (pixels - 1).clamp(min=1)
    constant = variance == 0
    deviation = variance.masked_fill(constant, 1.0).sqrt()
    return (centred / (deviation + SMALL)).masked_fill(constant, 0.0)


class PKDFeatures(Loss):
    """`pkd_features` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("dense", "features"),
        signal="feature map",
        paper=Paper(
            title="PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient",
            authors="Cao, Zhang, Gao, Cheng, Cheng, Zhang",
            year=2022,
            arxiv="2207.02039",
            venue="NeurIPS",
        ),
        exceptions={"micro_batches": "the channels are standardised over the whole batch"},
    )

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return pkd_features(student_features, teacher_features, mask=mask, reduction=self.reduction)
