"""MiniLMv2: relations among queries, among keys and among values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.transformers.attention_kl import attention_kl
from knowledge_distillation.losses.transformers.relation_scores import (
    check_queries_keys_values,
    relation_scores,
)

EQUAL_WEIGHTS = (1 / 3, 1 / 3, 1 / 3)


def minilmv2(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    relation_heads: int = 48,
    weights: Sequence[float] = EQUAL_WEIGHTS,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """MiniLMv2: query-query, key-key and value-value relations of one layer, cut into relation heads.

    sum over X in (Q, K, V) of weight_X * KL(softmax(X_t X_t^T / sqrt(d_t)) || softmax(X_s X_s^T / sqrt(d_s))),
    averaged over the relation heads; d = width / relation_heads, each side's own.

    When: as `minilm`, and the student may have another number of attention heads. The teacher's layer
    need not be its last: for large teachers one in the upper half may serve better.

    Args:
        student: queries, keys and values of one layer, each [N, L, width], heads side by side in the
            width. Receives gradient.
        teacher: the same three; the width may differ. Detached inside.
        relation_heads: parts that every width is cut into; 48 in Bloomberg's reimplementation.
        weights: of the three relations Q-Q, K-K and V-V, each 0 or more; one third each.
        mask: tokens, shape [N, L], True where the token counts, as query and as key; None counts all.
        reduction: "mean" over counted tokens, "sum", or "none" for one value per token, shape [N, L].

    Returns:
        Nats: a scalar, or [N, L] for "none". 0 when no token counts.

    Raises:
        ShapeError: if a side is not three tensors [N, L, width], relation_heads does not divide a width,
            or the mask does not match the tokens.
        ConfigError: if relation_heads is not a whole number above 0, weights are not three numbers of 0
            or more, or reduction is unknown.

    Example:
        >>> import torch
        >>> student = [torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])] * 3
        >>> teacher = [torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])] * 3
        >>> round(minilmv2(student, teacher, relation_heads=1).item(), 4)
        0.1125

    Reference: Wang et al. (2021), arXiv:2012.15828.

    Differs: the paper averages over one sequence; over a batch, every counted token weighs the same here.
        For an average of sequences, average each row of "none".
    """
    check_whole("relation_heads", relation_heads)
    check_weights(weights)
    check_queries_keys_values("student", student)
    check_queries_keys_values("teacher", teacher)
    distances = [
        weight
        * attention_kl(
            relation_scores(ours, ours, heads=relation_heads, mask=mask),
            relation_scores(theirs.detach(), theirs.detach(), heads=relation_heads, mask=mask),
            mask=mask,
            reduction="none",
        )
        for weight, ours, theirs in zip(weights, student, teacher, strict=True)
    ]
    return reduce(torch.stack(distances).sum(dim=0), mask=mask, reduction=reduction)


def check_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """Return the three relation weights, else raise ConfigError."""
    if len(weights) != 3 or not all(0 <= weight < math.inf for weight in weights):
        raise ConfigError(
            f"weights must be three finite numbers of 0 or more, for Q-Q, K-K and V-V, got {list(weights)!r}."
        )
    return tuple(weights)


class MiniLMv2(Loss):
    """`minilmv2` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("transformers",),
        signal="queries, keys and values",
        paper=Paper(
            title="MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained Transformers",
            authors="Wang, Bao, Huang, Dong, Wei",
            year=2021,
            arxiv="2012.15828",
        ),
    )

    def __init__(
        self,
        relation_heads: int = 48,
        *,
        weights: Sequence[float] = EQUAL_WEIGHTS,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.relation_heads = check_whole("relation_heads", relation_heads)
        self.weights = check_weights(weights)
        self.reduction: Reduction = reduction

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, mask: Tensor | None = None) -> Tensor:
        return minilmv2(
            student,
            teacher,
            relation_heads=self.relation_heads,
            weights=self.weights,
            mask=mask,
            reduction=self.reduction,
        )
