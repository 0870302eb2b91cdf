"""Activation boundaries: which neurons fire, not how strongly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import Channels, connect_stages, stage_connectors
from knowledge_distillation.losses.features.maps import Elements, Maps, add_stages, paired_stages, per_sample
from knowledge_distillation.losses.inputs import check_positive, check_same_shape
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def ab(
    student_features: Maps,
    teacher_features: Maps,
    *,
    margin: float = 1.0,
    elements: Elements = "sum",
    stage_weights: Sequence[float] | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Activation boundary transfer: a squared hinge that puts each neuron on the teacher's side of zero.

    sum over elements of max(0, margin - student)**2 where the teacher is above 0, and of
    max(0, margin + student)**2 where it is not. Stages are added; one value per sample.

    When: to initialise a student before it trains on the task; tapped before the ReLU.

    Args:
        student_features: already through the connector, [batch, channels, *space] for each stage, before the
            ReLU. Receives gradient.
        teacher_features: same shapes, before the ReLU; only the sign counts. Detached inside.
        margin: > 0, in feature units; how far beyond zero a neuron must be. 1 in the authors' code.
        elements: "sum" over the elements of a sample, as in the paper, or their "mean".
        stage_weights: one weight for each stage; None weighs all 1. The authors' code halves it with each stage
            away from the last: 2**(stage - last).
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Squared feature units: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if stages, shapes or the mask do not fit.
        ConfigError: if margin is not positive, or elements, stage_weights or reduction is wrong.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[3.0, -2.0, 1.0]])
        >>> student = torch.tensor([[0.5, 0.5, 4.0]])
        >>> ab(student, teacher).item()
        2.5

    Reference: Heo, Lee, Yun, Choi (2018), arXiv:1811.03233.
    """
    check_positive("margin", margin)
    values = []
    for student, teacher in paired_stages(student_features, teacher_features, mask):
        check_same_shape(student, teacher, "features")
        short = torch.relu(margin - torch.where(teacher > 0, student, -student))
        values.append(per_sample(short.square(), elements))
    return reduce(add_stages(values, stage_weights), mask=mask, reduction=reduction)


class AB(Loss):
    """`ab` as a module; see there for shapes, units and sources.

    With channel counts it learns one connector for each stage: a 1x1 convolution and batch normalisation.

    Args:
        student_channels: of the student's maps, whole numbers above 0, one for each stage from shallow to deep; one
            number is one stage. None, on both sides together, learns no connectors. ConfigError if only one side
            is given or the numbers of stages differ.
        teacher_channels: of the teacher's maps, in the same way.
    """

    facts = Facts(
        families=("features",),
        signal="feature maps",
        paper=Paper(
            title="Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons",
            authors="Heo, Lee, Yun, Choi",
            year=2018,
            arxiv="1811.03233",
        ),
        learns="connectors: 1x1 convolution and batch normalisation for each stage, if channels are given",
        exceptions={
            "zero_at_equality": "the student must clear the margin, which the teacher itself need not do",
            "micro_batches": "the connector's batch normalisation sees the whole batch",
        },
    )

    def __init__(
        self,
        student_channels: Channels | None = None,
        teacher_channels: Channels | None = None,
        *,
        margin: float = 1.0,
        elements: Elements = "sum",
        stage_weights: Sequence[float] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.connectors = stage_connectors(student_channels, teacher_channels)
        self.margin = check_positive("margin", margin)
        self.elements: Elements = elements
        self.stage_weights = stage_weights
        self.reduction: Reduction = reduction

    def forward(self, student_features: Maps, teacher_features: Maps, *, mask: Tensor | None = None) -> Tensor:
        return ab(
            connect_stages(self.connectors, student_features, mask),
            teacher_features,
            margin=self.margin,
            elements=self.elements,
            stage_weights=self.stage_weights,
            mask=mask,
            reduction=self.reduction,
        )
