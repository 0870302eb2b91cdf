"""Class attention transfer: where each class is seen."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.maps import Maps, check_images, paired, per_sample, unit
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def class_activation_maps(features: Tensor, classifier_weight: Tensor) -> Tensor:
    """Class activation maps: the linear classifier applied at every pixel instead of after pooling.

    Args:
        features: the last map, shape [batch, channels, height, width].
        classifier_weight: weight of the linear layer that follows the pooling, shape [classes, channels].

    Returns:
        shape [batch, classes, height, width]; its mean over the pixels is the logits less the bias.

    Raises:
        ShapeError: if the features are no map, or the weight does not have one column for each of their channels.
    """
    check_images(features)
    if classifier_weight.dim() != 2 or classifier_weight.shape[1] != features.shape[1]:
        raise ShapeError(
            f"classifier_weight must be [classes, {features.shape[1]}], one column for each channel of the map, got "
            f"{tuple(classifier_weight.shape)}: a classifier behind flattened pixels has no class activation maps. Use "
            "a model that averages over the pixels before its linear classifier."
        )
    return F.conv2d(features, classifier_weight[:, :, None, None])


def catkd(
    student_maps: Tensor,
    teacher_maps: Tensor,
    *,
    size: int = 2,
    normalize: bool = True,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Class attention transfer: squared distance between the class activation maps of student and teacher.

    mean over classes and pixels of (a_s - a_t)**2, with a = each class's map, average-pooled to size x size and
    scaled to length 1. One value per sample.

    When: classification with one pooled linear classifier; says where to look for a class, and can be read by eye.

    Args:
        student_maps: class activation maps (`class_activation_maps`), shape [batch, classes, height, width].
            Receives gradient.
        teacher_maps: same batch and classes; height and width may differ. Detached inside.
        size: side of the pooled maps, whole number above 0; 2 in most of the authors' configurations.
        normalize: scale each class's map to length 1, as in the paper.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless, at most 4 / size**2 when normalised: a scalar, or [batch] for "none". 0 when no sample
        counts.

    Raises:
        ShapeError: if classes or batches differ, or the mask does not match the samples.
        ConfigError: if size is not a whole number above 0, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> student = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
        >>> round(catkd(student, teacher).item(), 4)
        0.1464

    Reference: Guo, Yan, Li, Wang, Chen (2023), arXiv:2304.12777.

    Differs: the paper divides by the classes only; the authors' code, as here, by classes and pixels, so the
        paper's value is size**2 times as large.
    """
    check_whole("size", size)
    check_images(student_maps, teacher_maps)
    student, teacher = paired(student_maps, teacher_maps, mask)
    if student.shape[1] != teacher.shape[1]:
        raise ShapeError(
            f"class maps must have the same classes on both sides: student {student.shape[1]}, teacher "
            f"{teacher.shape[1]}. Other classes would be compared; pass class_activation_maps, not features."
        )
    student, teacher = (F.adaptive_avg_pool2d(maps, size).flatten(start_dim=2) for maps in (student, teacher))
    if normalize:
        student, teacher = unit(student), unit(teacher)
    return reduce(per_sample((student - teacher).square()), mask=mask, reduction=reduction)


class CATKD(Loss):
    """`catkd` as a module; see there for shapes, units and sources. It learns nothing.

    Each side may also be two tensors, the last map and the weight of the linear classifier behind its pooling, from
    which `class_activation_maps` are made: a student's follow its classifier as it trains.
    """

    facts = Facts(
        families=("features",),
        signal="class activation maps",
        paper=Paper(
            title="Class Attention Transfer Based Knowledge Distillation",
            authors="Guo, Yan, Li, Wang, Chen",
            year=2023,
            arxiv="2304.12777",
        ),
        same_classes=True,
    )

    def __init__(self, size: int = 2, *, normalize: bool = True, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.size = size
        self.normalize = normalize
        self.reduction: Reduction = reduction

    def forward(self, student_maps: Maps, teacher_maps: Maps, *, mask: Tensor | None = None) -> Tensor:
        return catkd(
            student_maps if isinstance(student_maps, Tensor) else class_activation_maps(*student_maps),
            teacher_maps if isinstance(teacher_maps, Tensor) else class_activation_maps(*teacher_maps),
            size=self.size,
            normalize=self.normalize,
            mask=mask,
            reduction=self.reduction,
        )
