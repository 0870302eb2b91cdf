"""Margin-MSE: how much better the relevant passage scores than the others."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_same_shape,
    full_precision,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def margin_mse(
    student_scores: Tensor, teacher_scores: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Margin-MSE: squared error of the margin between a query's positive and its negatives.

    mean over negatives n of ((s_pos - s_n) - (t_pos - t_n))**2.

    When: a cross-encoder teaches a retrieval model; the margin carries over although the two models
    score on different scales and offsets.

    Args:
        student_scores: relevance of the candidates to their query, the positive first, shape
            [*queries, 1 + negatives]; dot products of embeddings in the paper. Receives gradient.
        teacher_scores: same shape, any offset. Detached inside.
        mask: shape [*queries], True where the query counts; None counts all.
        reduction: "mean" over counted queries, "sum", or "none" for one value per query, shape [*queries].

    Returns:
        Squared units of the scores: a scalar, or [*queries] for "none". 0 when no query counts.

    Raises:
        ShapeError: if the shapes differ, there is no negative, or the mask does not match the queries.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> margin_mse(torch.tensor([[5.0, 2.0]]), torch.tensor([[9.0, 1.0]])).item()
        25.0

    Reference: Hofstaetter, Althammer, Schroeder, Sertkan, Hanbury (2020), arXiv:2010.02666.

    Differs: the paper has one negative a query; more are averaged.
    """
    check_same_shape(student_scores, teacher_scores, "scores")
    if student_scores.dim() < 1 or student_scores.shape[-1] < 2:
        raise ShapeError(
            f"scores must have shape [*queries, 1 + negatives], the positive first, got {tuple(student_scores.shape)}: "
            "a margin needs at least one negative."
        )
    gap = full_precision(hide_masked(student_scores, mask)) - full_precision(hide_masked(teacher_scores.detach(), mask))
    values = (gap[..., :1] - gap[..., 1:]).square().mean(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


class MarginMSE(Loss):
    """`margin_mse` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("embeddings",),
        signal="relevance scores",
        paper=Paper(
            title="Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation",
            authors="Hofstaetter, Althammer, Schroeder, Sertkan, Hanbury",
            year=2020,
            arxiv="2010.02666",
        ),
    )

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, student_scores: Tensor, teacher_scores: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return margin_mse(student_scores, teacher_scores, mask=mask, reduction=self.reduction)
