"""DistilHuBERT: distance and direction of hidden states, for heads that predict a teacher's layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_same_shape,
    check_weight,
    full_precision,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def distilhubert(
    student_hidden: Tensor,
    teacher_hidden: Tensor,
    *,
    cosine_weight: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """L1 distance of hidden states and the log-sigmoid of their cosine, one value per frame.

    sum over width of |s - t| / width - cosine_weight * log sigmoid(cos(s, t)).

    When: one layer of a small speech model predicts several layers of a teacher, each through a linear head of its own
    (`projector: linear`) that is thrown away afterwards: a term for each layer. The student learns what is said at
    all depths without a layer for each.

    Args:
        student_hidden: a head's prediction, shape [*items, width]: [samples, frames, width]. Receives gradient.
        teacher_hidden: of the predicted layer, same shape. Detached inside.
        cosine_weight: >= 0; 1 in the paper.
        mask: shape [*items], True where the frame counts; None counts all.
        reduction: "mean" over counted frames, "sum", or "none" for one value per frame, shape [*items].

    Returns:
        Units of the hidden states plus nats: a scalar, or [*items] for "none". Equal states have the value
        cosine_weight * 0.3133, not 0: the sigmoid of 1 is 0.731. 0 when no frame counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the frames.
        ConfigError: if cosine_weight is negative, or reduction is unknown.

    Example:
        >>> import torch
        >>> round(distilhubert(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item(), 4)
        1.6931

    Reference: Chang, Yang, Lee (2022), DistilHuBERT, arXiv:2110.01900, equation 1.
    """
    check_same_shape(student_hidden, teacher_hidden, "hidden")
    check_weight("cosine_weight", cosine_weight)
    student = full_precision(hide_masked(student_hidden, mask))
    teacher = full_precision(hide_masked(teacher_hidden.detach(), mask))
    direction = F.logsigmoid(torch.cosine_similarity(student, teacher, dim=-1))
    values = (student - teacher).abs().mean(dim=-1) - cosine_weight * direction
    return reduce(values, mask=mask, reduction=reduction)


class DistilHuBERT(Loss):
    """`distilhubert` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("transformers",),
        signal="hidden states",
        paper=Paper(
            title="DistilHuBERT: Speech Representation Learning by Layer-wise Distillation of Hidden-unit BERT",
            authors="Chang, Yang, Lee",
            year=2022,
            venue="ICASSP 2022",
            arxiv="2110.01900",
        ),
        exceptions={"zero_at_equality": "the log-sigmoid of a cosine of 1 is not 0"},
    )

    def __init__(self, *, cosine_weight: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.cosine_weight = check_weight("cosine_weight", cosine_weight)
        self.reduction: Reduction = reduction

    def forward(self, student_hidden: Tensor, teacher_hidden: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return distilhubert(
            student_hidden, teacher_hidden, cosine_weight=self.cosine_weight, mask=mask, reduction=self.reduction
        )
