"""Mean squared error between attention scores or attention maps."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import full_precision
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.transformers.attention_shapes import (
    check_attention,
    counted_keys,
    counted_queries,
)

# Additive masks write -1e4 (BERT), -65504, -1e9, the lowest float or -inf; real scores stay far above.
BLOCKED_SCORE = -1e3


def attention_mse(
    student_attention: Tensor, teacher_attention: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Mean squared error between attention matrices, head by head, one value per query token.

    1 / heads * sum over heads of sum over counted keys of (s - t)**2 / number of counted keys.

    When: teacher and student have as many heads; TinyBERT takes the scores before the softmax, which
    trains faster and better than the probabilities.

    Args:
        student_attention: scores (paper) or probabilities, shape [N, heads, queries, keys]. Receives gradient.
        teacher_attention: same shape and kind. Detached inside.
        mask: tokens, shape [N, L], True where the token counts, as query and as key; None counts all.
        reduction: "mean" over counted query tokens, "sum", or "none" for one value per query token,
            shape [N, queries].

    Returns:
        Squared units of the scores: a scalar, or [N, queries] for "none". 0 when no token counts.

    Raises:
        ShapeError: if the shapes differ or are not 4-D, or the mask does not match the tokens.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> attention_mse(student, torch.zeros(1, 1, 2, 2)).item()
        7.5

    Reference: Jiao et al. (2019), TinyBERT, attention loss, arXiv:1909.10351.

    Differs: padding does not count, neither as query nor as key, where the authors' code divides by the
        padded length. Pairs that an additive mask blocks on both sides (scores at or below -1000) count as
        equal; the authors' code sets every score at or below -100 to 0.
    """
    check_attention(student_attention, teacher_attention, mask)
    student, teacher = full_precision(student_attention), full_precision(teacher_attention.detach())
    ignored = (student <= BLOCKED_SCORE) & (teacher <= BLOCKED_SCORE)
    queries, keys = counted_queries(mask), counted_keys(mask)
    count: Tensor | int = student.shape[-1]
    if queries is not None and keys is not None:
        ignored = ignored | ~(queries & keys)
        count = keys.sum(dim=-1).clamp(min=1)
    gap = torch.where(ignored, torch.zeros_like(student), student - teacher)
    values = (gap.square().sum(dim=-1) / count).mean(dim=1)
    return reduce(values, mask=mask, reduction=reduction)


class AttentionMSE(Loss):
    """`attention_mse` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("transformers",),
        signal="attention scores",
        paper=Paper(
            title="TinyBERT: Distilling BERT for Natural Language Understanding",
            authors="Jiao, Yin, Shang, Jiang, Chen, Li, Wang, Liu",
            year=2019,
            arxiv="1909.10351",
        ),
    )

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, student_attention: Tensor, teacher_attention: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return attention_mse(student_attention, teacher_attention, mask=mask, reduction=self.reduction)
