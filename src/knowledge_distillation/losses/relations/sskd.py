"""Self-supervised distillation: how similar transformed images are to untouched ones, as the teacher sees it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_between,
    check_positive,
    check_weight,
    full_precision,
    hide_masked,
    log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.relations.samples import chosen, counted_samples, number
from knowledge_distillation.losses.vectors import dot_products, unit


def sskd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    temperature: float = 0.5,
    keep_wrong: float = 0.75,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """temperature**2 * KL(teacher || student) of which image a transformed view is found to come from.

    View 0 of every sample is the untouched image, the others are transformed (rotated by 90, 180, 270 degrees in
    the authors' code). A transformed view has a row of cosines with the untouched images of the whole batch;
    p = softmax(row / temperature). Rows where the teacher finds the right image all count; of the others only
    the share keep_wrong in which it ranks the right image highest, ties going to the smaller gap.
    The mean over these rows is the loss.

    When: labels are few or noisy; together with `kd` on the untouched and on the transformed images.

    Args:
        student_features: projected features, shape [batch, views, width], view 0 untouched, at least 2 views.
            Receives gradient.
        teacher_features: shape [batch, views, width]; the width may differ. Detached inside.
        temperature: of the rows, > 0; 0.5 in the authors' code.
        keep_wrong: share of wrongly ranked rows to learn from, 0 to 1; 0.75 in the authors' code.
        mask: shape [batch], True where the sample counts; a masked sample leaves with all its views.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch]: the
            sum over its rows in units of the mean number of rows a sample.

    Returns:
        Nats times temperature squared: a scalar, or [batch] for "none". 0 for a single sample or none.

    Raises:
        ShapeError: if the inputs are not [batch, views, width] with equal batch and views, or the mask is
            not [batch].
        ConfigError: if temperature, keep_wrong or reduction is not as described.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
        >>> student = torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
        >>> round(sskd(student, teacher).item(), 4)
        0.041

    Reference: Xu, Liu, Li, Loy (2020), arXiv:2006.07114.

    Differs: the authors' code leaves it to its sort which of equally ranked rows are kept; here the order of the
        batch does not matter. The KL terms on class scores are `kd` and not part of this.
    """
    check_positive("temperature", temperature)
    check_between("keep_wrong", keep_wrong, 0.0, 1.0)
    check_views(student_features, teacher_features, mask)
    student = similarities(hide_masked(student_features, mask))
    teacher = similarities(hide_masked(teacher_features.detach(), mask))
    counted = counted_samples(student, mask)
    kept = kept_rows(teacher, counted, keep_wrong)
    log_student = log_probabilities(student.masked_fill(~counted, -torch.inf), temperature)
    log_teacher = log_probabilities(teacher.masked_fill(~counted, -torch.inf), temperature)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1) * temperature**2
    values = chosen(divergence, kept).sum(dim=1) * number(counted) / number(kept)
    return reduce(values, mask=mask, reduction=reduction)


def similarities(features: Tensor) -> Tensor:
    """Cosine of each transformed view with each untouched image, shape [batch, views - 1, batch]."""
    directions = unit(full_precision(features))
    return dot_products(directions[:, 1:], directions[:, 0])


def kept_rows(teacher: Tensor, counted: Tensor, keep_wrong: float) -> Tensor:
    """Bool [batch, views - 1]: every rightly ranked row and the best share of the wrong ones."""
    right = torch.diagonal(teacher, dim1=0, dim2=2).T.unsqueeze(-1)
    above = teacher.masked_fill(~counted, -torch.inf) - right
    ranks = (above > 0).sum(dim=-1)
    last = torch.full_like(ranks, teacher.shape[0])
    ranks = torch.where(counted.unsqueeze(1), ranks, last).flatten()
    by_gap = torch.argsort(above.amax(dim=-1).flatten(), stable=True)
    order = by_gap[torch.argsort(ranks[by_gap], stable=True)]
    wrong = ((ranks > 0) & (ranks < teacher.shape[0])).sum()
    # a hair more, so that a share of exactly n rows is not rounded down to n - 1
    keep = (ranks == 0).sum() + torch.floor(wrong * keep_wrong + 1e-3)
    return (torch.argsort(order) < keep).reshape(teacher.shape[:2])


def check_views(student: Tensor, teacher: Tensor, mask: Tensor | None) -> None:
    """Raise ShapeError unless both sides are [batch, views, width] and the mask is [batch]."""
    if student.dim() != 3 or teacher.dim() != 3 or student.shape[:2] != teacher.shape[:2] or student.shape[1] < 2:
        raise ShapeError(
            f"student_features and teacher_features must be [batch, views, width] with the same samples and at least "
            f"2 views, the first one untouched: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}. Views "
            "of different samples would be compared; run all views through the model and reshape its output."
        )
    if mask is not None and mask.shape != student.shape[:1]:
        raise ShapeError(
            f"mask must have one entry per sample, shape {tuple(student.shape[:1])}, got {tuple(mask.shape)}: "
            "a sample counts with all its views or not at all."
        )


class SSKD(Loss):
    """`sskd` as a module; see there for shapes, units and sources.

    Learns, where a width is given, that side's projection head (linear, ReLU, linear). The student's trains
    with the student. The teacher's must be trained before, on `pretext` with the teacher's body frozen (60
    epochs in the authors' code), and stands still afterwards. With a `pretext_weight` it learns beside the student
    instead, from the same batches: `pretext` is added to the loss, and no gradient of the student's term reaches
    it. Without a width the features are taken as they are.

    Args:
        student_width: width of the student's features; None builds no head on this side.
        teacher_width: width of the teacher's features; None builds no head on this side.
        pretext_weight: of `pretext` in the loss, >= 0; 0, as in the paper, leaves the teacher's head as it is.
    """

    facts = Facts(
        families=("relations",),
        signal="features of several views",
        paper=Paper(
            title="Knowledge Distillation Meets Self-Supervision",
            authors="Xu, Liu, Li, Loy",
            year=2020,
            arxiv="2006.07114",
            venue="ECCV",
        ),
        learns="a projection head on each side, if its width is given",
        exceptions={"micro_batches": "relations reach across the batch: parts of it do not see each other"},
    )

    def __init__(
        self,
        student_width: int | None = None,
        teacher_width: int | None = None,
        *,
        temperature: float = 0.5,
        keep_wrong: float = 0.75,
        reduction: Reduction = "mean",
        pretext_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.student_head = projection_head(student_width)
        self.teacher_head = projection_head(teacher_width)
        self.temperature = check_positive("temperature", temperature)
        self.keep_wrong = check_between("keep_wrong", keep_wrong, 0.0, 1.0)
        self.pretext_weight = check_weight("pretext_weight", pretext_weight)
        if self.pretext_weight and reduction != "mean":
            raise ConfigError("pretext is one number a batch: with a pretext_weight, reduction must be 'mean'.")
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        student = self.student_head(full_precision(hide_masked(student_features, mask)))
        with torch.no_grad():
            teacher = self.teacher_head(full_precision(hide_masked(teacher_features, mask)))
        value = sskd(
            student,
            teacher,
            temperature=self.temperature,
            keep_wrong=self.keep_wrong,
            mask=mask,
            reduction=self.reduction,
        )
        if not self.pretext_weight:
            return value
        counted = teacher_features if mask is None else teacher_features[mask.bool()]
        return value + self.pretext_weight * self.pretext(counted)

    def pretext(self, teacher_features: Tensor) -> Tensor:
        """Cross-entropy of finding each transformed view's own image; trains the teacher's head and only that.

        Args:
            teacher_features: shape [batch, views, width], view 0 untouched. Detached inside.

        Raises:
            ConfigError: if the module was built without teacher_width: there is nothing to train.
        """
        if isinstance(self.teacher_head, nn.Identity):
            raise ConfigError("pretext trains the teacher's head, and there is none: build SSKD with teacher_width.")
        check_views(teacher_features, teacher_features, None)
        rows = similarities(self.teacher_head(full_precision(teacher_features.detach()))) / self.temperature
        own = torch.arange(rows.shape[0], device=rows.device).repeat_interleave(rows.shape[1])
        return F.cross_entropy(rows.flatten(end_dim=1), own)


def projection_head(width: int | None) -> nn.Module:
    """The paper's two-layer head at constant width, or nothing."""
    if width is None:
        return nn.Identity()
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
