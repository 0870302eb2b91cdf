"""Distillation by singular value decomposition: how the main directions of two layers relate."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.maps import add_stages, check_images, paired_stages, unit
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.vectors import no_autocast

# Directions whose squared singular values are closer than this share of the largest have no gradient of their own.
CLOSEST = 1e-6


def kdsvd(
    student_features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    *,
    directions: int = 1,
    spare: int = 3,
    bandwidth: float = 8.0,
    stage_weights: Sequence[float] | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """SVD distillation: radial-basis relations between the main channel directions of neighbouring layers.

    Each map as a matrix of pixels x channels has right singular vectors v. For neighbouring layers
    R[a, b, k] = exp(-(v[a, k] - w[b, k])**2 / bandwidth), with v and w scaled by the teacher's singular values,
    which are scaled to length 1. sum over layers and entries of (R_s - R_t)**2, one value per sample.

    When: networks with the same widths at the tapped layers, and what counts is the flow from layer to layer.

    Args:
        student_features: two maps or more, [batch, channels, height, width] each, in the order of the network.
            Receives gradient.
        teacher_features: as many maps with the same channels; the sizes may differ. Detached inside.
        directions: how many singular vectors of the teacher are taught, at least 1.
        spare: how many more of the student's may stand in for them: for each of the teacher's vectors the one
            of greatest |cosine| is taken, with its sign turned.
        bandwidth: > 0, of the radial basis; 8 in the authors' code.
        stage_weights: one weight for each pair of neighbours; None weighs all 1.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if there are fewer than two maps, or stages, channels, batches or the mask do not fit.
        ConfigError: if a setting is out of range, or there are fewer directions than asked for.

    Example:
        >>> import torch
        >>> one = torch.tensor([[[[1.0]], [[0.0]]]])
        >>> other = torch.tensor([[[[0.0]], [[1.0]]]])
        >>> round(kdsvd([one, one], [one, other]).item(), 4)
        0.0552

    Reference: Lee, Kim, Song (2018), arXiv:1807.06819.

    Differs: a singular vector's sign is arbitrary, and code that keeps the sign of its linear-algebra library
        gives other values elsewhere; here the teacher's vectors are turned to a sum of 0 or more. Between
        directions of equal strength the gradient is damped instead of infinite.
    """
    check_positive("bandwidth", bandwidth)
    if directions < 1 or spare < 0:
        raise ConfigError(f"directions must be 1 or more and spare 0 or more, got {directions} and {spare}.")
    stages = paired_stages(student_features, teacher_features, mask)
    if len(stages) < 2:
        raise ShapeError(f"kdsvd relates neighbouring layers: give two maps or more on each side, got {len(stages)}.")
    aligned = [_aligned(student, teacher, directions, spare) for student, teacher in stages]
    values = [
        (_relation(before[0], after[0], bandwidth) - _relation(before[1], after[1], bandwidth))
        .square()
        .sum(dim=(1, 2, 3))
        for before, after in itertools.pairwise(aligned)
    ]
    return reduce(add_stages(values, stage_weights), mask=mask, reduction=reduction)


def _aligned(student: Tensor, teacher: Tensor, directions: int, spare: int) -> tuple[Tensor, Tensor]:
    check_images(student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise ShapeError(
            f"kdsvd compares channel by channel: student {student.shape[1]} channels, teacher {teacher.shape[1]}. "
            "Tap layers of one width, or project the student's."
        )
    strengths, taught = _main_directions(teacher, directions, 0)
    taught = torch.where(taught.sum(dim=1, keepdim=True) < 0, -taught, taught)
    _, learned = _main_directions(student, directions, spare)
    with no_autocast(student):
        cosines = learned.detach().mT @ taught
    chosen = cosines.abs().argmax(dim=1, keepdim=True)
    turned = torch.where(cosines.gather(1, chosen) < 0, -1.0, 1.0).to(learned)
    learned = learned.gather(2, chosen.expand(-1, learned.shape[1], -1)) * turned
    weights = unit(strengths)[:, None, :]
    return learned * weights, taught * weights


def _main_directions(features: Tensor, directions: int, spare: int) -> tuple[Tensor, Tensor]:
    matrix = features.flatten(start_dim=2)
    available = min(matrix.shape[1:])
    if directions > available:
        raise ConfigError(
            f"directions must be at most {available} for a map of {matrix.shape[1]} channels and {matrix.shape[2]} "
            f"pixels, got {directions}."
        )
    count = min(directions + spare, available)
    # Directions do not depend on the scale; without it, squares of large or tiny values leave float32.
    scale = matrix.detach().abs().amax(dim=(1, 2), keepdim=True)
    matrix = matrix / torch.where(scale > 0, scale, torch.ones_like(scale))
    with no_autocast(matrix):
        gram = matrix @ matrix.mT
        powers, vectors = torch.linalg.eigh(gram.detach())
        powers, vectors = powers.flip(-1), vectors.flip(-1)
        main, floor = vectors[:, :, :count], CLOSEST * powers[:, :1, None].clamp(min=1)
        # First-order perturbation: 0 in value, the derivative of the eigenvectors in gradient.
        shift = vectors.mT @ (gram - gram.detach()) @ main
        gaps = powers[:, None, :count] - powers[:, :, None]
        main = main + vectors @ (shift * gaps / (gaps.square() + floor.square()))
    return powers[:, :directions].clamp(min=0).sqrt(), main


def _relation(before: Tensor, after: Tensor, bandwidth: float) -> Tensor:
    return torch.exp(-(after[:, :, None, :] - before[:, None, :, :]).square() / bandwidth)


class KDSVD(Loss):
    """`kdsvd` as a module; see there for shapes, units and sources. It learns nothing."""

    facts = Facts(
        families=("features",),
        signal="feature maps",
        paper=Paper(
            title="Self-supervised Knowledge Distillation Using Singular Value Decomposition",
            authors="Lee, Kim, Song",
            year=2018,
            arxiv="1807.06819",
        ),
    )

    def __init__(
        self,
        *,
        directions: int = 1,
        spare: int = 3,
        bandwidth: float = 8.0,
        stage_weights: Sequence[float] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.directions = directions
        self.spare = spare
        self.bandwidth = check_positive("bandwidth", bandwidth)
        self.stage_weights = stage_weights
        self.reduction: Reduction = reduction

    def forward(
        self, student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], *, mask: Tensor | None = None
    ) -> Tensor:
        return kdsvd(
            student_features,
            teacher_features,
            directions=self.directions,
            spare=self.spare,
            bandwidth=self.bandwidth,
            stage_weights=self.stage_weights,
            mask=mask,
            reduction=self.reduction,
        )
