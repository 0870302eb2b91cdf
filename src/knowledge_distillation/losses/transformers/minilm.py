"""MiniLM: attention distributions and value relations of the last layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.transformers.attention_kl import MINILM, attention_kl
from knowledge_distillation.losses.transformers.relation_scores import (
    check_queries_keys_values,
    relation_scores,
)


def minilm(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    heads: int = 12,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """MiniLM: the student's last layer attends, and relates its values, as the teacher's last layer does.

    KL of softmax(Q K^T / sqrt(d)) plus KL of softmax(V V^T / sqrt(d)), teacher || student, averaged over
    the heads; d is the head size, each side's own.

    When: a pretrained encoder gets smaller in depth and width; no layer mapping and no projection are
    needed, but as many attention heads.

    Args:
        student: queries, keys and values of the last layer, each [N, L, width], heads side by side in
            the width. Receives gradient.
        teacher: the same three; the width may differ. Detached inside.
        heads: attention heads of both models; 12 in BERT-base.
        mask: tokens, shape [N, L], True where the token counts, as query and as key; None counts all.
        reduction: "mean" over counted tokens, "sum", or "none" for one value per token, shape [N, L].

    Returns:
        Nats: a scalar, or [N, L] for "none". 0 when no token counts.

    Raises:
        ShapeError: if a side is not three tensors [N, L, width], heads do not divide a width, or the mask
            does not match the tokens.
        ConfigError: if heads is not a whole number above 0, or reduction is unknown.

    Example:
        >>> import torch
        >>> student = [torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])] * 3
        >>> teacher = [torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])] * 3
        >>> round(minilm(student, teacher, heads=1).item(), 4)
        0.225

    Reference: Wang et al. (2020), arXiv:2002.10957.

    Differs: the paper averages over one sequence; over a batch, every counted token weighs the same here.
        For an average of sequences, average each row of "none".
    """
    check_whole("heads", heads)
    check_queries_keys_values("student", student)
    check_queries_keys_values("teacher", teacher)
    distances = [
        attention_kl(
            relation_scores(student[left], student[right], heads=heads, mask=mask),
            relation_scores(teacher[left].detach(), teacher[right].detach(), heads=heads, mask=mask),
            mask=mask,
            reduction="none",
        )
        for left, right in ((0, 1), (2, 2))
    ]
    return reduce(distances[0] + distances[1], mask=mask, reduction=reduction)


class MiniLM(Loss):
    """`minilm` as a module; see there for shapes, units and sources."""

    facts = Facts(families=("transformers",), signal="queries, keys and values", paper=MINILM)

    def __init__(self, heads: int = 12, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.heads = check_whole("heads", heads)
        self.reduction: Reduction = reduction

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, mask: Tensor | None = None) -> Tensor:
        return minilm(student, teacher, heads=self.heads, mask=mask, reduction=self.reduction)
