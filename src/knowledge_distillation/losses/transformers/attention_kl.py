"""Forward KL divergence between attention distributions, from scores or from probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import full_precision, log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.transformers.attention_shapes import (
    check_attention,
    counted_keys,
    counted_queries,
)

MINILM = Paper(
    title="MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers",
    authors="Wang, Wei, Dong, Bao, Yang, Zhou",
    year=2020,
    arxiv="2002.10957",
)


def attention_kl(
    student_scores: Tensor, teacher_scores: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Forward KL divergence of attention distributions, from the scores before the softmax.

    1 / heads * sum over heads of KL(softmax(t) || softmax(s)) over the counted keys.

    When: teacher and student have as many heads and the scores can be read; where the model only gives
    probabilities, `attention_kl_from_probs`.

    Args:
        student_scores: attention logits, already divided by sqrt(head size), shape
            [N, heads, queries, keys]; -inf where attention is blocked. Receives gradient.
        teacher_scores: same shape. Detached inside.
        mask: tokens, shape [N, L], True where the token counts, as query and as key; None counts all.
        reduction: "mean" over counted query tokens, "sum", or "none" for one value per query token,
            shape [N, queries].

    Returns:
        Nats: a scalar, or [N, queries] for "none". 0 when no token counts.

    Raises:
        ShapeError: if the shapes differ or are not 4-D, or the mask does not match the tokens.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]]])
        >>> round(attention_kl(torch.zeros(1, 1, 2, 2), teacher).item(), 4)
        0.1639

    Reference: Wang et al. (2020), MiniLM, arXiv:2002.10957.

    Differs: the paper averages over one sequence; over a batch, every counted token weighs the same here.
        For an average of sequences, average each row of "none".
    """
    check_attention(student_scores, teacher_scores, mask)
    student = _log_attention(student_scores, mask)
    teacher = _log_attention(teacher_scores.detach(), mask)
    values = (teacher.exp() * (teacher - student)).sum(dim=-1).mean(dim=1)
    return reduce(values, mask=mask, reduction=reduction)


def _log_attention(scores: Tensor, mask: Tensor | None) -> Tensor:
    queries, keys = counted_queries(mask), counted_keys(mask)
    if queries is not None and keys is not None:
        scores = scores.masked_fill(~queries, 0.0).masked_fill(~keys, float("-inf"))
    return log_probabilities(scores)


class AttentionKL(Loss):
    """`attention_kl` as a module; see there for shapes, units and sources."""

    facts = Facts(families=("transformers",), signal="attention scores", paper=MINILM)

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, student_scores: Tensor, teacher_scores: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return attention_kl(student_scores, teacher_scores, mask=mask, reduction=self.reduction)


def attention_kl_from_probs(
    student_probs: Tensor, teacher_probs: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Forward KL divergence of attention distributions, from the probabilities after the softmax.

    1 / heads * sum over heads of sum over counted keys of t * (log t - log s), each side rescaled to
    sum to 1 over the counted keys.

    When: the model returns attention probabilities, as Hugging Face models do with output_attentions.

    Args:
        student_probs: attention probabilities, shape [N, heads, queries, keys]. Receives gradient.
        teacher_probs: same shape. Detached inside.
        mask: tokens, shape [N, L], True where the token counts, as query and as key; None counts all.
        reduction: "mean" over counted query tokens, "sum", or "none" for one value per query token,
            shape [N, queries].

    Returns:
        Nats: a scalar, or [N, queries] for "none". 0 when no token counts. A key that the student gives
        probability 0 is taken at the smallest normal number.

    Raises:
        ShapeError: if the shapes differ or are not 4-D, or the mask does not match the tokens.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[0.75, 0.25], [0.5, 0.5]]]])
        >>> student = torch.tensor([[[[0.5, 0.5], [0.5, 0.5]]]])
        >>> round(attention_kl_from_probs(student, teacher).item(), 4)
        0.0654

    Reference: Wang et al. (2020), MiniLM, arXiv:2002.10957.

    Differs: as `attention_kl`.
    """
    check_attention(student_probs, teacher_probs, mask)
    student = _share_of_keys(student_probs, mask)
    teacher = _share_of_keys(teacher_probs.detach(), mask)
    smallest = torch.finfo(student.dtype).tiny
    gap = teacher.clamp(min=smallest).log() - student.clamp(min=smallest).log()
    values = (teacher * gap).sum(dim=-1).mean(dim=1)
    return reduce(values, mask=mask, reduction=reduction)


def _share_of_keys(probs: Tensor, mask: Tensor | None) -> Tensor:
    probs = full_precision(probs)
    queries, keys = counted_queries(mask), counted_keys(mask)
    if queries is not None and keys is not None:
        probs = probs.masked_fill(~(queries & keys), 0.0)
    return probs / probs.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(probs.dtype).tiny)


class AttentionKLFromProbs(Loss):
    """`attention_kl_from_probs` as a module; see there for shapes, units and sources."""

    facts = Facts(families=("transformers",), signal="attention probabilities", paper=MINILM)

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, student_probs: Tensor, teacher_probs: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return attention_kl_from_probs(student_probs, teacher_probs, mask=mask, reduction=self.reduction)
