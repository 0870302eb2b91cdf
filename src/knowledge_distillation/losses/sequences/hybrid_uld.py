"""Hybrid of class-by-class divergence and ULD (GOLD): for vocabularies that overlap in part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    LOWEST_LOGIT,
    check_between,
    check_positive,
    hide_masked,
    log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.aligned import SPAN_INPUTS, aligned, log_complement
from knowledge_distillation.losses.sequences.generalized_jsd import jsd_terms
from knowledge_distillation.losses.sequences.spans import pair_tokens
from knowledge_distillation.losses.sequences.uld import sorted_distance

Ids = Tensor | Sequence[int]


def hybrid_uld(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    student_ids: Ids,
    teacher_ids: Ids,
    beta: float = 0.5,
    matched_weight: float | None = None,
    temperature: float = 1.0,
    teacher_mask: Tensor | None = None,
    labels: Tensor | None = None,
    spans: Tensor | None = None,
    teacher_labels: Tensor | None = None,
    teacher_spans: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Hybrid ULD: tokens that both vocabularies know are compared one by one, the others rank by rank.

    w * JSD + (1 - w) * ULD. JSD is `generalized_jsd` over the matched tokens and one outcome for all the
    others; ULD is the sum over ranks of |p_s sorted - p_t sorted| of the unmatched tokens, the shorter list
    padded with zeros; p = softmax(logits / temperature) over each whole vocabulary.

    When: different tokenizers that share many tokens, such as two byte-pair vocabularies.

    Args:
        student_logits: unnormalised scores, shape [*batch, student classes]. Receives gradient.
        teacher_logits: shape [*batch, teacher classes]; with teacher_mask [samples, teacher tokens, teacher
            classes]. Detached inside.
        student_ids: ids of the matched tokens in the student's vocabulary, shape [matched], none twice.
        teacher_ids: ids of the same tokens, in the same order, in the teacher's vocabulary.
        beta: of the JSD, 0 (forward KL) to 1 (reverse KL); 0.5 in the authors' code.
        matched_weight: w, 0 to 1; None takes the matched share of the teacher's vocabulary.
        temperature: softening of both sides, > 0, dimensionless; 1 in the authors' code.
        teacher_mask: shape [samples, teacher tokens]; pairs tokens by their place, see `uld`.
        labels: the token that each of the student's rows is about, shape [samples, tokens]; for spans.
        spans: the number of the span of this token, shape [samples, tokens], -1 for none, see `uld`. With spans,
            the probabilities of a span's first token, times that of its further tokens, are compared; what they
            lack to 1 is another outcome of the JSD.
        teacher_labels: the token that each of the teacher's rows is about, shape [samples, teacher tokens].
        teacher_spans: the number of the span of this token, shape [samples, teacher tokens].
        mask: shape [*batch], True where the student's item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats and dimensionless mass, weighted: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the ids differ in number, the items of both sides do not fit, or a mask does not
            match its items.
        ConfigError: if beta, matched_weight or temperature is out of range, reduction is unknown, or spans come
            without their labels.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.4, 0.1, 0.5]]).log()
        >>> student = torch.tensor([[0.5, 0.3, 0.2]]).log()
        >>> round(hybrid_uld(student, teacher, student_ids=[0], teacher_ids=[2], matched_weight=0.5).item(), 4)
        0.1

    Reference: Patino et al. (2025), Unlocking On-Policy Distillation for Any Model Family (GOLD), Hugging Face.

    Differs: the authors' code takes the divergence over the matched tokens alone, which do not sum to 1, so
        that it can fall below 0 at beta 0 and 1; the outcome for the others makes it a divergence. Theirs
        also drops the second part when one side has no unmatched token; here the other side's mass counts.
        It averages over spans; here over the student's tokens, so that splitting a batch changes nothing.
    """
    student_ids, teacher_ids = check_ids(student_ids, teacher_ids, student_logits.device)
    check_between("beta", beta, 0.0, 1.0)
    check_positive("temperature", temperature)
    if matched_weight is None:
        matched_weight = len(teacher_ids) / teacher_logits.shape[-1]
    check_between("matched_weight", matched_weight, 0.0, 1.0)
    if spans is None:
        teacher_logits, mask = pair_tokens(student_logits, teacher_logits.detach(), teacher_mask, mask)
        student, student_rest = split(log_probabilities(hide_masked(student_logits, mask), temperature), student_ids)
        teacher, teacher_rest = split(log_probabilities(hide_masked(teacher_logits, mask), temperature), teacher_ids)
    else:
        both = aligned(
            student_logits,
            teacher_logits,
            labels=labels,
            spans=spans,
            teacher_labels=teacher_labels,
            teacher_spans=teacher_spans,
            temperature=temperature,
            teacher_temperature=temperature,
            mask=mask,
            teacher_mask=teacher_mask,
        )
        student, student_rest = split(both.student.merged, student_ids, log_complement(both.student.further))
        teacher, teacher_rest = split(both.teacher.merged, teacher_ids, log_complement(both.teacher.further))
    matched = jsd_terms(student, teacher, beta).sum(dim=-1)
    unmatched = sorted_distance(student_rest, teacher_rest)
    values = matched_weight * matched + (1.0 - matched_weight) * unmatched
    return reduce(values if spans is None else both.by_token(values), mask=mask, reduction=reduction)


def split(log_probs: Tensor, ids: Tensor, elsewhere: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the ids and of all others together, and the others' masses with 0 at the ids.

    Args:
        log_probs: shape [*batch, classes].
        ids: shape [matched].
        elsewhere: log of the mass that the classes lack to 1, shape [*batch]; None where they have all.
    """
    others = log_probs.index_fill(-1, ids, LOWEST_LOGIT)
    rest = others.logsumexp(dim=-1, keepdim=True)
    if elsewhere is not None:
        rest = torch.logaddexp(rest, elsewhere.unsqueeze(-1))
    return torch.cat([log_probs.index_select(-1, ids), rest], dim=-1), others.exp()


def check_ids(student_ids: Ids, teacher_ids: Ids, device: torch.device) -> tuple[Tensor, Tensor]:
    """Both lists of ids as int64 tensors on `device`, or ShapeError if they differ in number."""
    student, teacher = (torch.as_tensor(ids, dtype=torch.int64, device=device) for ids in (student_ids, teacher_ids))
    if student.dim() != 1 or student.shape != teacher.shape:
        raise ShapeError(
            f"student_ids and teacher_ids must be two lists of one length, got shapes {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}: entry n of both must be the same token."
        )
    return student, teacher


class HybridULD(Loss):
    """`hybrid_uld` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    student_ids: Tensor
    teacher_ids: Tensor

    facts = Facts(
        families=("sequences",),
        signal="logits",
        paper=Paper(
            title="Unlocking On-Policy Distillation for Any Model Family",
            authors="Patino, Rasul, Gallouedec, Burtenshaw, Paniego, Srivastav, Frere, Beeching, Tunstall, et al.",
            year=2025,
            venue="Hugging Face",
        ),
        takes=("teacher_mask", *SPAN_INPUTS),
        exceptions={"class_permutation": "the matched ids would have to be renamed too"},
    )

    def __init__(
        self,
        student_ids: Ids,
        teacher_ids: Ids,
        *,
        beta: float = 0.5,
        matched_weight: float | None = None,
        temperature: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        student, teacher = check_ids(student_ids, teacher_ids, torch.device("cpu"))
        for name, ids in [("student_ids", student), ("teacher_ids", teacher)]:
            if len(set(ids.tolist())) != len(ids):
                raise ConfigError(f"{name} holds a token twice: its mass would be counted twice.")
        self.register_buffer("student_ids", student)
        self.register_buffer("teacher_ids", teacher)
        self.beta = check_between("beta", beta, 0.0, 1.0)
        self.matched_weight = (
            None if matched_weight is None else check_between("matched_weight", matched_weight, 0.0, 1.0)
        )
        self.temperature = check_positive("temperature", temperature)
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
        return hybrid_uld(
            student_logits,
            teacher_logits,
            student_ids=self.student_ids,
            teacher_ids=self.teacher_ids,
            beta=self.beta,
            matched_weight=self.matched_weight,
            temperature=self.temperature,
            teacher_mask=teacher_mask,
            labels=labels,
            spans=spans,
            teacher_labels=teacher_labels,
            teacher_spans=teacher_spans,
            mask=mask,
            reduction=self.reduction,
        )
