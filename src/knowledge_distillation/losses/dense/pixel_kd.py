"""Pixel-wise distillation for segmentation: every pixel is one classification."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_same_shape
from knowledge_distillation.losses.logits.kd import kd
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction


def pixel_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    class_axis: int = 1,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`kd` at every pixel: temperature**2 * KL(teacher || student) of the softened class scores.

    temperature**2 * sum over classes of p_t * (log p_t - log p_s), with p = softmax over the class axis of
    logits / temperature, one value per pixel.

    When: the first thing to try for semantic segmentation, and the baseline for `cwd`.

    Args:
        student_logits: unnormalised class scores, shape [batch, classes, height, width]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless; 1 in the authors' code.
        class_axis: where the classes are; 1 as convolutional networks give them, -1 for channels last.
        mask: True where the pixel counts, shape [batch, height, width] (the logits' shape without the class
            axis), such as `labels != 255` to leave out ignored pixels; None counts all.
        reduction: "mean" over counted pixels, "sum", or "none" for one value per pixel, the mask's shape.

    Returns:
        Nats times temperature squared: a scalar, or [batch, height, width] for "none". 0 when no pixel counts.

    Raises:
        ShapeError: if the shapes differ, the class axis does not exist, or the mask does not match the pixels.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([2.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
        >>> student = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
        >>> round(pixel_kd(student, teacher, temperature=2.0).item(), 4)
        0.124

    Reference: Liu, Chen, Liu, Qin, Luo, Wang (2019), arXiv:1903.04197.

    Differs: the paper writes KL(student || teacher), but its authors' code has the teacher's probabilities
        as targets, and so has this. That code has no temperature.
    """
    check_same_shape(student_logits, teacher_logits, "logits")
    if not -student_logits.dim() <= class_axis < student_logits.dim():
        raise ShapeError(
            f"class_axis {class_axis} does not exist in logits of shape {tuple(student_logits.shape)}: pass the axis "
            "that holds the class scores, 1 for [batch, classes, height, width]."
        )
    return kd(
        student_logits.movedim(class_axis, -1),
        teacher_logits.movedim(class_axis, -1),
        temperature=temperature,
        mask=mask,
        reduction=reduction,
    )


class PixelKD(Loss):
    """`pixel_kd` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("dense",),
        signal="logits",
        paper=Paper(
            title="Structured Knowledge Distillation for Semantic Segmentation",
            authors="Liu, Chen, Liu, Qin, Luo, Wang",
            year=2019,
            arxiv="1903.04197",
            venue="CVPR",
        ),
        same_classes=True,
    )

    def __init__(self, temperature: float = 1.0, *, class_axis: int = 1, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.class_axis = class_axis
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return pixel_kd(
            student_logits,
            teacher_logits,
            temperature=self.temperature,
            class_axis=self.class_axis,
            mask=mask,
            reduction=self.reduction,
        )
