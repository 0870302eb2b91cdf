"""SimKD: the student borrows the teacher's classifier and only has to reach its features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import channel_pairs, connect, convolution
from knowledge_distillation.losses.features.maps import (
    Elements,
    check_images,
    one_size,
    paired,
    per_sample,
    pool_to,
)
from knowledge_distillation.losses.inputs import check_positive, check_same_shape
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def simkd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    elements: Elements = "mean",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """SimKD: squared distance between the projected last map of the student and the teacher's.

    mean over elements of (student - teacher)**2, one value per sample. It is the only loss of the method: no
    labels, no temperature, and the finished student ends in the projector and the teacher's classifier.

    When: the student may keep a projector at inference; then it comes closest to the teacher.

    Args:
        student_features: the projector's output, shape [batch, channels, height, width]. Receives gradient.
        teacher_features: the map that the teacher's pooling and classifier read, same channels; the larger map
            is average-pooled to the size of the smaller. Detached inside.
        elements: "mean" over the elements of a sample, or their "sum", the squared norm.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Squared feature units: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if channels or batches differ, or the mask does not match the samples.
        ConfigError: if elements or reduction is unknown.

    Example:
        >>> import torch
        >>> simkd(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[0.0, 1.0]]]])).item()
        2.5

    Reference: Chen, Mei, Zhang, Wang, Feng, Chen (2022), arXiv:2203.14001.

    Differs: the paper writes the squared norm (`elements="sum"`); the authors' code takes the mean, as here.
    """
    student, teacher = one_size(*paired(student_features, teacher_features, mask))
    check_same_shape(student, teacher, "features")
    return reduce(per_sample((student - teacher).square(), elements), mask=mask, reduction=reduction)


class SimKD(Loss):
    """`simkd` as a module; see there for shapes, units and sources.

    It learns the projector, 1x1, 3x3 and 1x1 convolutions of width teacher_channels / factor, each with batch
    normalisation and ReLU. The student needs it at inference: `student_logits`.

    Args:
        student_channels: of the student's map, a whole number above 0; else ConfigError.
        teacher_channels: of the teacher's map, likewise.
        factor: > 0, else ConfigError; how much narrower than the teacher's map the projector is inside; 2 in the
            authors' code.
        classifier: the teacher's last linear layer, copied and frozen here, for `student_logits`. None: it comes with
            each call of `student_logits`.
        teacher_size: height and width of the teacher's map; None where it is at least as large as the student's.
    """

    facts = Facts(
        families=("features",),
        signal="feature map",
        paper=Paper(
            title="Knowledge Distillation with the Reused Teacher Classifier",
            authors="Chen, Mei, Zhang, Wang, Feng, Chen",
            year=2022,
            arxiv="2203.14001",
        ),
        learns="projector: three convolutions with batch normalisation and ReLU, kept at inference",
        exceptions={"micro_batches": "the projector's batch normalisation sees the whole batch"},
    )

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        factor: float = 2,
        elements: Elements = "mean",
        reduction: Reduction = "mean",
        classifier: nn.Linear | None = None,
        teacher_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        [(student, teacher)] = channel_pairs(student_channels, teacher_channels)
        narrow = max(1, int(teacher / check_positive("factor", factor)))
        layers: list[nn.Module] = []
        for inputs, outputs, size in ((student, narrow, 1), (narrow, narrow, 3), (narrow, teacher, 1)):
            layers += [convolution(inputs, outputs, size), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.projector = nn.Sequential(*layers)
        self.classifier = None if classifier is None else _frozen_copy(classifier, teacher)
        self.teacher_size = teacher_size
        self.elements: Elements = elements
        self.reduction: Reduction = reduction

    @property
    def stays(self) -> bool:
        """Whether it holds the teacher's classifier, so that `student_logits` needs nothing else."""
        return self.classifier is not None

    def student_logits(
        self,
        student_features: Tensor,
        classifier: Callable[[Tensor], Tensor] | None = None,
        *,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """What the student answers: its features through the projector, the mean over pixels, the classifier.

        Args:
            student_features: shape [batch, student_channels, height, width].
            classifier: the teacher's last layer, from [batch, teacher_channels] to [batch, classes]; None takes the
                one held here.
            size: height and width of the teacher's map; only needed where it is smaller than the student's; None
                takes `teacher_size`.

        Returns:
            Logits, shape [batch, classes].

        Raises:
            ConfigError: if there is no classifier.
        """
        classifier, size = classifier or self.classifier, size or self.teacher_size
        if classifier is None:
            raise ConfigError(
                "The finished student answers through the teacher's classifier, and none came: build SimKD with "
                "classifier=teacher.fc, or pass it here."
            )
        check_images(student_features)
        if size is not None:
            height, width = student_features.shape[2:]
            student_features = pool_to(student_features, (min(height, size[0]), min(width, size[1])))
        return classifier(connect(self.projector, student_features).mean(dim=(2, 3)))

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        student, teacher = one_size(*paired(student_features, teacher_features, mask))
        return simkd(
            connect(self.projector, student, mask),
            teacher,
            elements=self.elements,
            mask=mask,
            reduction=self.reduction,
        )


def _frozen_copy(classifier: nn.Linear, channels: int) -> nn.Linear:
    if classifier.in_features != channels:
        raise ConfigError(
            f"The teacher's classifier must read the {channels} channels of its map after pooling, and reads "
            f"{classifier.in_features} values. Choose the map that the pooling before the classifier reads."
        )
    copy = nn.Linear(classifier.in_features, classifier.out_features, bias=classifier.bias is not None)
    with torch.no_grad():
        for own, theirs in zip(copy.parameters(), classifier.parameters(), strict=True):
            own.copy_(theirs)
    return copy.requires_grad_(False)
