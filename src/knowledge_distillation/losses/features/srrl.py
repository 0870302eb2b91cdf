"""Softmax regression representation learning: the teacher's classifier judges the student's features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import channel_pairs, connect, convolution
from knowledge_distillation.losses.features.maps import paired, per_sample
from knowledge_distillation.losses.inputs import check_weight, full_precision
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.vectors import no_autocast


def srrl(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    classifier_weight: Tensor,
    feature_weight: float = 1.0,
    regression_weight: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Softmax regression representation learning: match the features and what the teacher's classifier says of them.

    feature_weight * mean (h_s - h_t)**2 + regression_weight * mean (W h_s - W h_t)**2, with h the mean over the
    pixels, W the teacher's classifier (its bias cancels out), and means over channels and classes. One value
    per sample.

    When: classification, with the teacher's last layer at hand.

    Args:
        student_features: already through the connector, shape [batch, channels] or [batch, channels, height,
            width]. Receives gradient.
        teacher_features: same batch and channels, pooled or not. Detached inside.
        classifier_weight: the teacher's, shape [classes, channels]. Detached inside.
        feature_weight: >= 0, of the features' term; the authors' code weighs both 1.
        regression_weight: >= 0, of the classifier's term.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Squared feature units plus squared logits: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if channels, batches or the classifier do not fit, or the mask does not match the samples.
        ConfigError: if feature_weight or regression_weight is negative or not finite, or reduction is unknown.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> srrl(student, teacher, classifier_weight=torch.tensor([[3.0, 1.0]])).item()
        9.5

    Reference: Yang, Martinez, Bulat, Tzimiropoulos (2021), ICLR.

    Differs: a softmax regression would have a cross-entropy for the second term; here, as in the authors' code,
        it is the squared difference of the logits.
    """
    check_weight("feature_weight", feature_weight)
    check_weight("regression_weight", regression_weight)
    student, teacher = paired(_pooled(student_features), _pooled(teacher_features), mask)
    if student.shape != teacher.shape or classifier_weight.shape[1:] != student.shape[1:]:
        raise ShapeError(
            "student and teacher features and the columns of classifier_weight must have the same channels: "
            f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}, classifier_weight "
            f"{tuple(classifier_weight.shape)}. Put a connector on the student."
        )
    gap = student - teacher
    with no_autocast(gap):
        logits_gap = F.linear(gap, classifier_weight.detach().to(gap.dtype))
    values = feature_weight * per_sample(gap.square()) + regression_weight * per_sample(logits_gap.square())
    return reduce(values, mask=mask, reduction=reduction)


def _pooled(features: Tensor) -> Tensor:
    return full_precision(features).flatten(start_dim=2).mean(dim=2) if features.dim() > 2 else features


class SRRL(Loss):
    """`srrl` as a module; see there for shapes, units and sources.

    It learns the connector: a 1x1 convolution with batch normalisation and ReLU. The teacher's classifier is
    kept as frozen buffers when given here; otherwise its weight comes with each call.

    Args:
        student_channels: of the student's features, a whole number above 0; else ConfigError.
        teacher_channels: of the teacher's features, likewise.
        classifier: the teacher's last linear layer, whose weight is copied and frozen. None: each call must bring
            `classifier_weight`, and ConfigError comes where none does.
    """

    facts = Facts(
        families=("features",),
        signal="feature map",
        paper=Paper(
            title="Knowledge distillation via softmax regression representation learning",
            authors="Yang, Martinez, Bulat, Tzimiropoulos",
            year=2021,
            venue="ICLR",
        ),
        learns="connector: 1x1 convolution with batch normalisation and ReLU",
        exceptions={"micro_batches": "the connector's batch normalisation sees the whole batch"},
    )
    classifier_weight: Tensor | None

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        classifier: nn.Linear | None = None,
        feature_weight: float = 1.0,
        regression_weight: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        [(student, teacher)] = channel_pairs(student_channels, teacher_channels)
        self.connector = nn.Sequential(convolution(student, teacher), nn.BatchNorm2d(teacher), nn.ReLU())
        self.register_buffer("classifier_weight", None if classifier is None else classifier.weight.detach().clone())
        self.feature_weight = check_weight("feature_weight", feature_weight)
        self.regression_weight = check_weight("regression_weight", regression_weight)
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_features: Tensor,
        teacher_features: Tensor,
        *,
        classifier_weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        weight = self.classifier_weight if classifier_weight is None else classifier_weight
        if weight is None:
            raise ConfigError(
                "srrl needs the teacher's classifier: build the loss with classifier=teacher.fc, or pass "
                "classifier_weight in the call. None came."
            )
        maps = student_features if student_features.dim() == 4 else student_features[:, :, None, None]
        return srrl(
            connect(self.connector, maps, mask),
            teacher_features,
            classifier_weight=weight,
            feature_weight=self.feature_weight,
            regression_weight=self.regression_weight,
            mask=mask,
            reduction=self.reduction,
        )
