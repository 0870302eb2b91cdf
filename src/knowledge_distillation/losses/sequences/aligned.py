"""Logits of two tokenizers brought together by spans: the smallest pieces of text at whose ends both end a token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.inputs import LOWEST_LOGIT, hide_masked, log_probabilities
from knowledge_distillation.losses.sequences.spans import rows_at, span_parts

SPAN_INPUTS = ("labels", "spans", "teacher_labels", "teacher_spans")
"""What a loss needs to compare by spans, by the names under which the language domain gives it."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one model says of spans; column n belongs to span n."""

    first: Tensor
    """Log-probabilities of the span's first token, shape [samples, spans, classes]."""
    further: Tensor
    """Log-probability of the span's further tokens, each given those before it, shape [samples, spans]."""
    label: Tensor
    """The first token that stands in the text, shape [samples, spans]."""
    count: Tensor
    """How many tokens the span has, shape [samples, spans]; 0 where there is no span n."""
    place: Tensor
    """The row of the first token, shape [samples, spans]."""

    @property
    def merged(self) -> Tensor:
        """log p(y) + log p(further tokens) for every first token y, shape [samples, spans, classes]."""
        return self.first + self.further.unsqueeze(-1)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Both sides of the spans that both have."""

    student: Side
    teacher: Side
    there: Tensor
    """True where both have a span n, shape [samples, spans]."""
    tokens: int
    """Of the student, in each sample."""

    def by_token(self, values: Tensor) -> Tensor:
        """Values of spans at the student's row of their first token, 0 at the other rows.

        Args:
            values: shape [samples, spans]. Receives gradient where there is a span.

        Returns:
            shape [samples, student tokens], so that a mean is taken over tokens, however the text is cut.
        """
        counted = torch.where(self.there, values, torch.zeros_like(values))
        return values.new_zeros(len(values), self.tokens).scatter_add(1, self.student.place, counted)


def aligned(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    labels: Tensor | None,
    spans: Tensor,
    teacher_labels: Tensor | None,
    teacher_spans: Tensor | None,
    temperature: float,
    teacher_temperature: float,
    mask: Tensor | None,
    teacher_mask: Tensor | None,
) -> Aligned:
    """Read both sides span by span. Row t of the logits is about the token after place t.

    Args:
        student_logits: shape [samples, student tokens, student classes]. Receives gradient.
        teacher_logits: shape [samples, teacher tokens, teacher classes]. Detached inside.
        labels: the token that each of the student's rows is about, shape [samples, student tokens].
        spans: the number of the span that this token belongs to, from 0, shape [samples, student tokens]; -1 for none.
        teacher_labels, teacher_spans: the same for the teacher's rows, shape [samples, teacher tokens].
        temperature, teacher_temperature: softening, > 0.
        mask, teacher_mask: True where a token counts; one that does not belongs to no span. None counts all.

    Raises:
        ConfigError: if one of the four is missing.
        ShapeError: if one does not fit the rows, or the sides have other samples.
    """
    if labels is None or teacher_labels is None or teacher_spans is None:
        raise ConfigError(
            f"Spans are compared by {', '.join(SPAN_INPUTS)} together, and some are missing: nobody could tell which "
            "tokens belong together. The language domain's data and adapter give all four."
        )
    if student_logits.dim() != 3 or teacher_logits.dim() != 3 or len(student_logits) != len(teacher_logits):
        raise ShapeError(
            "With spans the sides must be [samples, tokens, classes] with the same samples, got student "
            f"{tuple(student_logits.shape)} and teacher {tuple(teacher_logits.shape)}."
        )
    student = _side(student_logits, labels, _counted(spans, mask), temperature, "")
    teacher = _side(
        teacher_logits.detach(), teacher_labels, _counted(teacher_spans, teacher_mask), teacher_temperature, "teacher_"
    )
    count = min(student.count.shape[1], teacher.count.shape[1])
    ours, theirs = _first(student, count), _first(teacher, count)
    return Aligned(ours, theirs, (ours.count > 0) & (theirs.count > 0), student_logits.shape[1])


def log_complement(log_probs: Tensor) -> Tensor:
    """log(1 - exp(log_probs)), of the same shape; `LOWEST_LOGIT` at 0, where its gradient would be infinite."""
    below = log_probs < 0
    found = (-torch.where(below, log_probs, -torch.ones_like(log_probs)).expm1()).log()
    return torch.where(below, found, torch.full_like(found, LOWEST_LOGIT))


def _counted(spans: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None and mask.shape != spans.shape:
        raise ShapeError(f"spans {tuple(spans.shape)} and their mask {tuple(mask.shape)} must have one shape.")
    return spans if mask is None else spans.masked_fill(~mask.bool(), -1)


def _side(logits: Tensor, labels: Tensor, spans: Tensor, temperature: float, whose: str) -> Side:
    for name, given in (("labels", labels), ("spans", spans)):
        if given.shape != logits.shape[:2]:
            raise ShapeError(
                f"{whose}{name} must have one entry for each row of the logits, shape {tuple(logits.shape[:2])}, got "
                f"{tuple(given.shape)}."
            )
    log_probs = log_probabilities(hide_masked(logits, spans >= 0), temperature)
    parts = span_parts(log_probs, labels, spans, "first")
    label = hide_masked(labels, spans >= 0).gather(1, parts.kept)
    return Side(log_probs, parts.others, label, parts.count, parts.kept)


def _first(side: Side, count: int) -> Side:
    """The first spans alone, and of the rows only those where they begin."""
    place = side.place[:, :count]
    return Side(
        rows_at(side.first, place), side.further[:, :count], side.label[:, :count], side.count[:, :count], place
    )
