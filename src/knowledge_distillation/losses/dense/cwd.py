"""Channel-wise distillation: where each channel looks."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_same_shape, hide_masked
from knowledge_distillation.losses.logits.kd import kd
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def cwd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    temperature: float = 4.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """temperature**2 * KL(teacher || student) over the pixels of each channel, averaged over the channels.

    p = softmax over all pixels of a channel of features / temperature; a sample's value is the mean over its
    channels of temperature**2 * sum over pixels of p_t * (log p_t - log p_s).

    When: semantic segmentation (on the class score maps) and detection (on the feature pyramid): the peaks of
    every channel matter, its level does not.

    Args:
        student_features: feature or class score maps, shape [batch, channels, *pixels]. Receives gradient.
        teacher_features: same shape. Detached inside.
        temperature: softening, > 0, dimensionless; the authors' configurations use 1. Higher looks at wider regions.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Nats times temperature squared: a scalar, or [batch] for "none". 0 when no sample counts. The authors'
        configurations weigh it with 5 or 10, at temperature 1.

    Raises:
        ShapeError: if the shapes differ, there is no pixel axis, or the mask is not [batch].
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[2.0, 0.0, 0.0]]]])
        >>> student = torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> round(cwd(student, teacher, temperature=2.0).item(), 4)
        0.124

    Reference: Shu, Liu, Gao, Yan, Shen (2021), arXiv:2011.13256.
    """
    check_same_shape(student_features, teacher_features, "features")
    if student_features.dim() < 3:
        raise ShapeError(
            f"Features must have shape [batch, channels, *pixels], got {tuple(student_features.shape)}: there is "
            "nothing to distribute a channel's attention over. Pass the map before it is pooled."
        )
    student = hide_masked(student_features, mask).flatten(start_dim=2)
    teacher = hide_masked(teacher_features.detach(), mask).flatten(start_dim=2)
    values = kd(student, teacher, temperature=temperature, reduction="none").mean(dim=1)
    return reduce(values, mask=mask, reduction=reduction)


class CWD(Loss):
    """`cwd` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("dense",),
        signal="feature map",
        paper=Paper(
            title="Channel-wise Knowledge Distillation for Dense Prediction",
            authors="Shu, Liu, Gao, Yan, Shen",
            year=2021,
            arxiv="2011.13256",
            venue="ICCV",
        ),
    )

    def __init__(self, temperature: float = 4.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return cwd(
            student_features, teacher_features, temperature=self.temperature, mask=mask, reduction=self.reduction
        )
