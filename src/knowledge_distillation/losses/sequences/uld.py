"""Universal logit distillation (ULD): for teacher and student with different vocabularies."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, full_precision, hide_masked, log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.aligned import SPAN_INPUTS, aligned
from knowledge_distillation.losses.sequences.spans import pair_tokens

BOIZARD = Paper(
    title="Towards Cross-Tokenizer Distillation: the Universal Logit Distillation Loss for LLMs",
    authors="Boizard, El Haddad, Hudelot, Colombo",
    year=2024,
    arxiv="2402.12030",
    venue="TMLR 2025",
)


def uld(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    teacher_mask: Tensor | None = None,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    labels: Tensor | None = None,
    spans: Tensor | None = None,
    teacher_labels: Tensor | None = None,
    teacher_spans: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Universal logit distillation: both distributions sorted, rank by rank, whatever the classes are called.

    sum over ranks r of |p_s sorted[r] - p_t sorted[r]|, the smaller vocabulary padded with zeros, with
    p = softmax(logits / temperature): the optimal transport between both when every move costs the same.

    When: teacher and student have different tokenizers. With the same one, compare class by class instead.

    Args:
        student_logits: unnormalised scores, shape [*batch, student classes]. Receives gradient.
        teacher_logits: shape [*batch, teacher classes]; with teacher_mask [samples, teacher tokens, teacher
            classes]. Detached inside.
        teacher_mask: shape [samples, teacher tokens], True at the teacher's tokens that count. With it the
            n-th counted student token of a sample meets the n-th counted teacher token, and student tokens
            beyond the teacher's last do not count. Without it both sides have the same items.
        temperature: softening of the student, > 0, dimensionless; 1 in the authors' code.
        teacher_temperature: softening of the teacher; None takes `temperature`.
        labels: the token that each of the student's rows is about, shape [samples, tokens]; for spans.
        spans: the number of the span of this token, from 0, as of `align_spans`; -1 for none. With spans, spans of
            the same text meet instead of tokens at the same place: the distribution of a span's first token, times
            the probability of its further tokens.
        teacher_labels: the token that each of the teacher's rows is about, shape [samples, teacher tokens].
        teacher_spans: the number of the span of this token, shape [samples, teacher tokens].
        mask: shape [*batch], True where the student's item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Dimensionless, from 0 to 2: a scalar, or [*batch] for "none". 0 when no item counts. With spans, the value of
        a span stands at its first token, and its further tokens have 0.

    Raises:
        ShapeError: if the items of both sides do not fit, or a mask does not match its items.
        ConfigError: if a temperature is not a positive finite number, reduction is unknown, or spans come without
            their labels.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.1, 0.6, 0.3]]).log()
        >>> student = torch.tensor([[0.5, 0.5]]).log()
        >>> round(uld(student, teacher).item(), 4)
        0.4

    Reference: Boizard, El Haddad, Hudelot, Colombo (2024), arXiv:2402.12030; the authors' code adds 1.5 times
        this to the cross-entropy. Spans: Patino et al. (2025), GOLD, Hugging Face.

    Differs: the paper sums over the tokens and the authors' code averages within a sequence, then over the
        sequences; here a token is an item, so "sum" is the paper's. Which row of logits predicts which token
        is the caller's to settle by the masks: nothing is shifted here. GOLD averages over spans; here over the
        student's tokens, so that splitting a batch changes nothing.
    """
    check_positive("temperature", temperature)
    if teacher_temperature is None:
        teacher_temperature = temperature
    check_positive("teacher_temperature", teacher_temperature)
    if spans is not None:
        both = aligned(
            student_logits,
            teacher_logits,
            labels=labels,
            spans=spans,
            teacher_labels=teacher_labels,
            teacher_spans=teacher_spans,
            temperature=temperature,
            teacher_temperature=teacher_temperature,
            mask=mask,
            teacher_mask=teacher_mask,
        )
        distances = sorted_distance(both.student.merged.exp(), both.teacher.merged.exp())
        return reduce(both.by_token(distances), mask=mask, reduction=reduction)
    teacher_logits, mask = pair_tokens(student_logits, teacher_logits.detach(), teacher_mask, mask)
    student = log_probabilities(hide_masked(student_logits, mask), temperature).exp()
    teacher = log_probabilities(hide_masked(teacher_logits, mask), teacher_temperature).exp()
    return reduce(sorted_distance(student, teacher), mask=mask, reduction=reduction)


class ULD(Loss):
    """`uld` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(families=("sequences",), signal="logits", paper=BOIZARD, takes=("teacher_mask", *SPAN_INPUTS))

    def __init__(
        self, temperature: float = 1.0, *, teacher_temperature: float | None = None, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.teacher_temperature = (
            None if teacher_temperature is None else check_positive("teacher_temperature", teacher_temperature)
        )
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        teacher_mask: Tensor | None = None,
        labels: Tensor | None = None,
        spans: Tensor | None = None,
        teacher_labels: Tensor | None = None,
        teacher_spans: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return uld(
            student_logits,
            teacher_logits,
            teacher_mask=teacher_mask,
            temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
            labels=labels,
            spans=spans,
            teacher_labels=teacher_labels,
            teacher_spans=teacher_spans,
            mask=mask,
            reduction=self.reduction,
        )


def uld_from_log_probs(
    student_log_probs: Tensor,
    teacher_log_probs: Tensor,
    *,
    teacher_mask: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`uld` on log-probabilities, taken as they come: for spans merged by `merge_spans`.

    sum over ranks r of |exp(log p_s) sorted[r] - exp(log p_t) sorted[r]|, the smaller vocabulary padded
    with zeros.

    When: the tokens of both sides were merged into spans of the same text first.

    Args:
        student_log_probs: shape [*batch, student classes]; need not be normalised. Receives gradient.
        teacher_log_probs: shape [*batch, teacher classes], -inf where the probability is 0. Detached inside.
        teacher_mask: shape [samples, teacher tokens], as in `uld`.
        mask: shape [*batch], True where the student's item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Dimensionless, from 0 to 2: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the items of both sides do not fit, or a mask does not match its items.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.1, 0.6, 0.3]]).log()
        >>> student = torch.tensor([[0.5, 0.5]]).log()
        >>> round(uld_from_log_probs(student, teacher).item(), 4)
        0.4

    Reference: Boizard, El Haddad, Hudelot, Colombo (2024), arXiv:2402.12030.
    """
    teacher_log_probs, mask = pair_tokens(student_log_probs, teacher_log_probs.detach(), teacher_mask, mask)
    student = full_precision(hide_masked(student_log_probs, mask)).exp()
    teacher = full_precision(hide_masked(teacher_log_probs, mask)).exp()
    return reduce(sorted_distance(student, teacher), mask=mask, reduction=reduction)


class ULDFromLogProbs(Loss):
    """`uld_from_log_probs` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(families=("sequences",), signal="log_probs", paper=BOIZARD, takes=("teacher_mask",))

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_log_probs: Tensor,
        teacher_log_probs: Tensor,
        *,
        teacher_mask: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return uld_from_log_probs(
            student_log_probs, teacher_log_probs, teacher_mask=teacher_mask, mask=mask, reduction=self.reduction
        )


def sorted_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum of |student - teacher| over the ranks of both, the narrower side padded with zeros.

    Args:
        student: masses, shape [*batch, student classes]. Receives gradient.
        teacher: masses, shape [*batch, teacher classes].

    Returns:
        shape [*batch].
    """
    wider = student.shape[-1] - teacher.shape[-1]
    ranked_student = F.pad(student.sort(dim=-1, descending=True).values, (0, max(0, -wider)))
    ranked_teacher = F.pad(teacher.sort(dim=-1, descending=True).values, (0, max(0, wider)))
    return (ranked_student - ranked_teacher).abs().sum(dim=-1)
