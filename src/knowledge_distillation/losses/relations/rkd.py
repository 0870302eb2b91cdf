"""Relational knowledge distillation: distances and angles between the samples of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_weight
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.relations.samples import (
    chosen,
    counted_samples,
    number,
    pairs,
    sample_vectors,
    without_self,
)
from knowledge_distillation.losses.vectors import dot_products, unit

PARK = Paper(
    title="Relational Knowledge Distillation",
    authors="Park, Kim, Lu, Cho",
    year=2019,
    arxiv="1904.05068",
    venue="CVPR",
)
EXCEPTIONS = {"micro_batches": "relations reach across the batch: parts of it do not see each other"}


def rkd_distance(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    normalize: bool = False,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Huber loss between the two models' pairwise distances, each in units of its own mean distance.

    For sample i the mean over j of huber(d_s(i, j) / m_s - d_t(i, j) / m_t), with d the Euclidean
    distance of two feature vectors, m its mean over pairs of distinct samples, and huber(x) = x**2 / 2 up
    to |x| = 1, |x| - 1/2 beyond. The pair (i, i) adds 0 and counts in the mean over j.

    When: the layout of a feature space matters and its width or scale differs: embeddings, penultimate layers.

    Args:
        student_features: shape [batch, ...], flattened to one vector a sample. Receives gradient.
        teacher_features: shape [batch, ...]; the width may differ. Detached inside.
        normalize: bring every vector to length 1 first.
        mask: shape [batch], True where the sample counts; a masked sample leaves all relations.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 for a single sample or none.

    Raises:
        ShapeError: if the batches differ, or the mask is not [batch].
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.0], [1.0], [2.0]])
        >>> student = torch.tensor([[0.0], [1.0], [3.0]])
        >>> round(rkd_distance(student, teacher).item(), 4)
        0.0139

    Reference: Park, Kim, Lu, Cho (2019), arXiv:1904.05068.

    Differs: the paper sums over pairs; the mean over all batch x batch entries is the authors' code, whose
        weights are the published ones.
    """
    student, teacher = sample_vectors(student_features, teacher_features, mask)
    if normalize:
        student, teacher = unit(student), unit(teacher)
    counted = counted_samples(student, mask)
    allowed = pairs(counted)
    gaps = F.smooth_l1_loss(
        relative_distances(student, allowed), relative_distances(teacher, allowed), reduction="none"
    )
    return reduce(chosen(gaps, allowed).sum(dim=1) / number(counted), mask=mask, reduction=reduction)


def relative_distances(rows: Tensor, allowed: Tensor) -> Tensor:
    """Distances between all rows, divided by their mean over allowed pairs of distinct rows."""
    # the matrix-product form of cdist loses half of the digits to cancellation
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    distinct = without_self(allowed)
    mean = chosen(distances, distinct).sum() / number(distinct)
    return distances / torch.where(mean > 0, mean, torch.ones_like(mean))


class RKDDistance(Loss):
    """`rkd_distance` as a module; see there for shapes, units and sources."""

    facts = Facts(families=("relations", "embeddings"), signal="features", paper=PARK, exceptions=EXCEPTIONS)

    def __init__(self, normalize: bool = False, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.normalize = normalize
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return rkd_distance(
            student_features, teacher_features, normalize=self.normalize, mask=mask, reduction=self.reduction
        )


def rkd_angle(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    normalize: bool = False,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Huber loss between the two models' cosines of the angles that triples of samples form.

    For sample i the mean over j and k of huber(c_s(i, j, k) - c_t(i, j, k)), with c the cosine of the
    angle at i between the directions to j and to k; a direction between equal vectors is 0.

    When: as `rkd_distance`, with more freedom for the student: angles do not see distances at all.

    Args:
        student_features: shape [batch, ...], flattened to one vector a sample. Receives gradient. Memory
            grows with batch**2 * width + batch**3.
        teacher_features: shape [batch, ...]; the width may differ. Detached inside.
        normalize: bring every vector to length 1 first.
        mask: shape [batch], True where the sample counts; a masked sample leaves all relations.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 for a single sample or none.

    Raises:
        ShapeError: if the batches differ, or the mask is not [batch].
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
        >>> round(rkd_angle(student, teacher).item(), 4)
        0.037

    Reference: Park, Kim, Lu, Cho (2019), arXiv:1904.05068.

    Differs: the paper sums over triples of distinct samples; the mean over all batch**3 entries, degenerate
        ones included as 0, is the authors' code, whose weights are the published ones.
    """
    student, teacher = sample_vectors(student_features, teacher_features, mask)
    if normalize:
        student, teacher = unit(student), unit(teacher)
    counted = counted_samples(student, mask)
    gaps = F.smooth_l1_loss(cosines(student), cosines(teacher), reduction="none")
    values = chosen(gaps, pairs(counted).unsqueeze(0)).sum(dim=(1, 2)) / number(counted) ** 2
    return reduce(values, mask=mask, reduction=reduction)


def cosines(rows: Tensor) -> Tensor:
    """Cosine of the angle at row i between rows j and k, shape [batch, batch, batch] in the order i, j, k."""
    directions = unit(rows.unsqueeze(0) - rows.unsqueeze(1))
    return dot_products(directions, directions)


class RKDAngle(Loss):
    """`rkd_angle` as a module; see there for shapes, units and sources."""

    facts = Facts(families=("relations", "embeddings"), signal="features", paper=PARK, exceptions=EXCEPTIONS)

    def __init__(self, normalize: bool = False, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.normalize = normalize
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return rkd_angle(
            student_features, teacher_features, normalize=self.normalize, mask=mask, reduction=self.reduction
        )


def rkd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    normalize: bool = False,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Relational distillation, RKD-DA: the weighted sum of `rkd_distance` and `rkd_angle`.

    distance_weight * rkd_distance + angle_weight * rkd_angle.

    When: as its two parts, together.

    Args:
        student_features: shape [batch, ...], flattened to one vector a sample. Receives gradient.
        teacher_features: shape [batch, ...]; the width may differ. Detached inside.
        distance_weight: >= 0; 25 in the CRD benchmark (classification), 1 in the authors' code (metric learning).
        angle_weight: >= 0; both take twice the distance weight.
        normalize: bring every vector to length 1 first.
        mask: shape [batch], True where the sample counts; a masked sample leaves all relations.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 for a single sample or none.

    Raises:
        ShapeError: if the batches differ, or the mask is not [batch].
        ConfigError: if a weight is negative or no number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
        >>> round(rkd(student, teacher, distance_weight=1.0, angle_weight=2.0).item(), 4)
        0.1035

    Reference: Park, Kim, Lu, Cho (2019), arXiv:1904.05068.
    """
    check_weight("distance_weight", distance_weight)
    check_weight("angle_weight", angle_weight)
    distance = rkd_distance(student_features, teacher_features, normalize=normalize, mask=mask, reduction=reduction)
    angle = rkd_angle(student_features, teacher_features, normalize=normalize, mask=mask, reduction=reduction)
    return distance_weight * distance + angle_weight * angle


class RKD(Loss):
    """`rkd` as a module; see there for shapes, units and sources."""

    facts = Facts(families=("relations", "embeddings"), signal="features", paper=PARK, exceptions=EXCEPTIONS)

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        *,
        normalize: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.distance_weight = check_weight("distance_weight", distance_weight)
        self.angle_weight = check_weight("angle_weight", angle_weight)
        self.normalize = normalize
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return rkd(
            student_features,
            teacher_features,
            distance_weight=self.distance_weight,
            angle_weight=self.angle_weight,
            normalize=self.normalize,
            mask=mask,
            reduction=self.reduction,
        )
