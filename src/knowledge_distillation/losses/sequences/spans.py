"""Brings the tokens of two tokenizers together: by their place in the answer, or by the text they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.inputs import full_precision, hide_masked

Keep = Literal["first", "last"]


def pair_tokens(
    student: Tensor, teacher: Tensor, teacher_mask: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The teacher's row for each student token: the n-th counted token of a sample meets the n-th.

    Args:
        student: shape [samples, student tokens, ...]; without teacher_mask any items [*batch, classes].
        teacher: shape [samples, teacher tokens, ...]; without teacher_mask the student's items.
        teacher_mask: shape [samples, teacher tokens], True where the teacher's token counts; None where
            both sides have the same items.
        mask: shape of the student's items, True where the student's token counts; None counts all.

    Returns:
        The teacher's rows, one for each student token, and the mask of the student tokens that count and
        have a partner. Rows without a partner hold anything.

    Raises:
        ShapeError: if the items of both sides, or a mask and its items, do not fit.

    Example:
        >>> student, teacher = torch.zeros(1, 3, 1), torch.tensor([[[5.0], [6.0], [7.0], [8.0]]])
        >>> rows, both = pair_tokens(student, teacher, torch.tensor([[False, True, False, True]]), None)
        >>> rows[both].flatten().tolist(), both.tolist()
        ([6.0, 8.0], [[True, True, False]])
    """
    if teacher_mask is None:
        if student.shape[:-1] != teacher.shape[:-1]:
            raise ShapeError(
                f"teacher must have the student's items {tuple(student.shape[:-1])}, got {tuple(teacher.shape[:-1])}: "
                "its rows would meet the wrong tokens. Pass teacher_mask to pair tokens by their place."
            )
        return teacher, mask
    if (
        student.dim() != 3
        or teacher.dim() != 3
        or teacher_mask.shape != teacher.shape[:2]
        or len(student) != len(teacher)
    ):
        raise ShapeError(
            "with teacher_mask the sides must be [samples, tokens, classes] with the same samples, and teacher_mask "
            f"[samples, teacher tokens]: got student {tuple(student.shape)}, teacher {tuple(teacher.shape)}, "
            f"teacher_mask {tuple(teacher_mask.shape)}."
        )
    counted = torch.ones(student.shape[:2], dtype=torch.bool, device=student.device) if mask is None else mask.bool()
    if counted.shape != student.shape[:2]:
        raise ShapeError(f"mask must have shape {tuple(student.shape[:2])}, got {tuple(counted.shape)}.")
    place = counted.cumsum(dim=1) - 1
    # A stable sort puts the counted teacher tokens first and keeps their order.
    order = (~teacher_mask.bool()).to(torch.uint8).sort(dim=1, stable=True).indices
    available = teacher_mask.bool().sum(dim=1, keepdim=True)
    partner = order.gather(1, place.clamp(0, teacher.shape[1] - 1))
    rows = teacher.gather(1, partner.unsqueeze(-1).expand(-1, -1, teacher.shape[-1]))
    return rows, counted & (place < available)


def align_spans(student_ends: Sequence[int], teacher_ends: Sequence[int]) -> tuple[list[int], list[int]]:
    """Cut one text into the smallest spans at whose ends both tokenizers end a token.

    Args:
        student_ends: where each student token ends in the text, in bytes, never decreasing.
        teacher_ends: the same for the teacher's tokens.

    Returns:
        The number of the span that each student token, and each teacher token, belongs to, from 0; -1 for
        tokens behind the last common end.

    Example:
        >>> align_spans([3, 4, 9], [4, 6, 9])
        ([0, 0, 1], [0, 1, 1])
    """
    student_spans, teacher_spans = [-1] * len(student_ends), [-1] * len(teacher_ends)
    student_from = teacher_from = student_at = teacher_at = span = 0
    while student_at < len(student_ends) and teacher_at < len(teacher_ends):
        student_end, teacher_end = student_ends[student_at], teacher_ends[teacher_at]
        student_at += student_end <= teacher_end
        teacher_at += teacher_end <= student_end
        if student_end == teacher_end:
            student_spans[student_from:student_at] = [span] * (student_at - student_from)
            teacher_spans[teacher_from:teacher_at] = [span] * (teacher_at - teacher_from)
            student_from, teacher_from, span = student_at, teacher_at, span + 1
    return student_spans, teacher_spans


def merge_spans(log_probs: Tensor, token_ids: Tensor, spans: Tensor, *, keep: Keep = "last") -> tuple[Tensor, Tensor]:
    """One row for each span of tokens: the distribution of one token times the probabilities of the others.

    log p of span = log p(row of the kept token) + sum of log p(token id) over the span's other tokens.

    Args:
        log_probs: shape [samples, tokens, classes]; row n predicts token n. Receives gradient.
        token_ids: the tokens that stand in the text, shape [samples, tokens].
        spans: the span of each token as from `align_spans`, shape [samples, tokens]; -1 for none.
        keep: whose distribution stays whole: "last" follows the chain rule, given the tokens before it;
            "first" multiplies it by the tokens after it.

    Returns:
        Log-probabilities [samples, tokens, classes], row n for span n, no longer normalised where a span
        has several tokens, and a mask [samples, tokens], True where there is a span n.

    Raises:
        ShapeError: if ids or spans do not match the rows.
        ConfigError: if keep is another word.

    Example:
        >>> log_probs = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]).log()
        >>> merged, there = merge_spans(log_probs, torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
        >>> merged[there].exp().tolist()
        [[0.125, 0.375]]

    Reference: Patino et al. (2025), Unlocking On-Policy Distillation for Any Model Family (GOLD).
    """
    if keep not in get_args(Keep):
        raise ConfigError(f"keep must be 'first' or 'last', got {keep!r}.")
    if token_ids.shape != log_probs.shape[:2] or spans.shape != log_probs.shape[:2]:
        raise ShapeError(
            f"token_ids and spans must have the shape {tuple(log_probs.shape[:2])} of the rows, got "
            f"{tuple(token_ids.shape)} and {tuple(spans.shape)}."
        )
    inside = spans >= 0
    rows = full_precision(hide_masked(log_probs, inside))
    parts = span_parts(rows, token_ids, spans, keep)
    return rows_at(rows, parts.kept) + parts.others.unsqueeze(-1), parts.count > 0


@dataclass(frozen=True, slots=True)
class SpanParts:
    """What the tokens of spans say; column n belongs to span n, and all are [samples, tokens]."""

    kept: Tensor
    """The row of the span's kept token; any row where there is no span n."""
    others: Tensor
    """Log-probability of the span's other tokens, given all before each; 0 where there are none."""
    count: Tensor
    """How many tokens the span has, 0 where there is none."""


def span_parts(log_probs: Tensor, token_ids: Tensor, spans: Tensor, keep: Keep) -> SpanParts:
    """The parts that `merge_spans` puts together; arguments as there, log-probabilities finite in every row."""
    inside = spans >= 0
    tokens = log_probs.shape[1]
    span = spans.clamp(min=0)
    position = torch.arange(tokens, device=log_probs.device).expand_as(spans)
    # Tokens outside every span go to a column of their own that is cut off again.
    column = torch.where(inside, span, tokens)
    empty = position.new_full((len(log_probs), tokens + 1), tokens if keep == "first" else -1)
    kept = empty.scatter_reduce(1, column, position, "amin" if keep == "first" else "amax")[:, :tokens]
    kept = kept.clamp(0, tokens - 1)
    own = log_probs.gather(-1, hide_masked(token_ids, inside).unsqueeze(-1)).squeeze(-1)
    others = inside & (kept.gather(1, span) != position)
    extra = own.new_zeros(len(own), tokens + 1).scatter_add(1, column, torch.where(others, own, torch.zeros_like(own)))
    count = torch.zeros_like(empty).scatter_add(1, column, torch.ones_like(position))
    return SpanParts(kept, extra[:, :tokens], count[:, :tokens])


def rows_at(rows: Tensor, places: Tensor) -> Tensor:
    """The rows [samples, tokens, classes] at these places [samples, spans], shape [samples, spans, classes]."""
    return rows.gather(1, places.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
