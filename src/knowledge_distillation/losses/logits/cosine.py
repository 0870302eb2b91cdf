"""Cosine distance between what the two models say, along the last axis."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_same_shape, full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def cosine(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """Cosine distance, 1 - cos(student, teacher) along the last axis, one value per item.

    1 - <s, t> / (|s| |t|), each norm at least 1e-8.

    When: the direction matters and the length does not: logits (the original toolkit's
    `cos_embed_loss`), hidden states (DistilBERT) and embeddings.

    Args:
        student: shape [*items, width]. Receives gradient.
        teacher: same shape. Detached inside.
        mask: shape [*items], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*items].

    Returns:
        Dimensionless, from 0 (same direction) to 2: a scalar, or [*items] for "none". An all-zero
        vector has distance 1 to everything. 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> round(cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])).item(), 4)
        0.2929

    Reference: Sanh, Debut, Chaumond, Wolf (2019), DistilBERT, arXiv:1910.01108.
    """
    check_same_shape(student, teacher, "signal")
    similarity = torch.cosine_similarity(
        full_precision(hide_masked(student, mask)), full_precision(hide_masked(teacher.detach(), mask)), dim=-1
    )
    return reduce(1.0 - similarity, mask=mask, reduction=reduction)


class Cosine(Loss):
    """`cosine` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits", "transformers", "embeddings"),
        signal="vectors",
        paper=Paper(
            title="DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter",
            authors="Sanh, Debut, Chaumond, Wolf",
            year=2019,
            arxiv="1910.01108",
        ),
        same_classes=True,
    )

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return cosine(student, teacher, mask=mask, reduction=self.reduction)
