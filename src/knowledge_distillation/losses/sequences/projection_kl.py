"""KL divergence after a sparse projection of the teacher's vocabulary onto the student's: for different tokenizers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import LOWEST_LOGIT, check_positive, hide_masked, log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.aligned import SPAN_INPUTS, Aligned, aligned, log_complement
from knowledge_distillation.losses.sequences.spans import pair_tokens


def projection_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    projection: Tensor,
    temperature: float = 1.0,
    labels: Tensor | None = None,
    spans: Tensor | None = None,
    teacher_labels: Tensor | None = None,
    teacher_spans: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Forward KL divergence from the teacher's distribution, projected onto the student's vocabulary.

    sum over the student's classes of q * (log q - log p_s), with q = p_t @ projection divided by its sum, and
    p = softmax(logits / temperature).

    When: different tokenizers whose tokens are pieces of each other, so that most of the teacher's mass has a place in
    the student's vocabulary. Every token keeps its meaning; `uld` compares ranks only.

    Args:
        student_logits: unnormalised scores, shape [*batch, student classes]. Receives gradient.
        teacher_logits: shape [*batch, teacher classes]; with spans [samples, teacher tokens, teacher classes]. Detached
            inside.
        projection: sparse COO tensor, shape [teacher classes, student classes]; a row holds the shares, >= 0, in which
            a token's mass goes to the student's tokens. Mass of rows that sum to less than 1 is not compared.
        temperature: softening of both sides, > 0, dimensionless; not scaled by its square.
        labels: the token that each of the student's rows is about, shape [samples, tokens]; for spans.
        spans: the number of the span of this token, from 0, as of `align_spans`; -1 for none. With spans, both sides
            are compared where one begins. There the teacher's mass for the text that stands there goes to the student's
            own first token of it, whatever the projection says. Spans of several tokens on both sides do not count.
        teacher_labels: the token that each of the teacher's rows is about, shape [samples, teacher tokens].
        teacher_spans: the number of the span of this token, shape [samples, teacher tokens].
        mask: shape [*batch], True where the student's item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts, and where the teacher's whole mass has no place.
        With spans, the value of a span stands at its first token, and its further tokens have 0.

    Raises:
        ShapeError: if the projection has other classes than the sides, or their items, or a mask, do not fit.
        ConfigError: if temperature is not a positive finite number, reduction is unknown, or spans come without their
            labels.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.2, 0.3, 0.5]]).log()
        >>> student = torch.tensor([[0.6, 0.4]]).log()
        >>> to_student = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).to_sparse()
        >>> round(projection_kl(student, teacher, projection=to_student).item(), 4)
        0.0204

    Reference: Sreenivas, Hanasoge, Yang, Taghibakhshi, Muralidharan, Aithal, Molchanov (2026), X-Token: a sparse
        projection by rules of strings, arXiv:2605.21699. The place of a token's mass, its longest beginning that the
        student knows, and that of a text that both write: byte-prefix marginalization, arXiv:2607.22334.

    Differs: X-Token projects the student's distribution onto the teacher's vocabulary and averages log-probabilities
        over spans; here the teacher's is projected, without gradient, so that the student is taught its own tokens.
        What has no place is left out and the rest divided by its sum; byte-prefix marginalization keeps it as an
        outcome of its own.
    """
    check_positive("temperature", temperature)
    classes = teacher_logits.shape[-1], student_logits.shape[-1]
    if tuple(projection.shape) != classes:
        raise ShapeError(
            f"projection must have shape [teacher classes, student classes], {classes}, got {tuple(projection.shape)}: "
            "mass would go to tokens that there are not. Make it from the tokenizers of these two models."
        )
    if spans is None:
        teacher_logits, mask = pair_tokens(student_logits, teacher_logits.detach(), None, mask)
        teacher = log_probabilities(hide_masked(teacher_logits, mask), temperature)
        student = log_probabilities(hide_masked(student_logits, mask), temperature)
        return reduce(_kl(student, projected(teacher, projection)), mask=mask, reduction=reduction)
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
        teacher_mask=None,
    )
    resolved = (both.student.count == 1) | (both.teacher.count == 1)
    values = _kl(both.student.first, _target(both, projection))
    values = both.by_token(torch.where(resolved, values, torch.zeros_like(values)))
    return reduce(values, mask=mask, reduction=reduction)


def projected(
    log_masses: Tensor, projection: Tensor, written: Tensor | None = None, token: Tensor | None = None
) -> Tensor:
    """Masses in the student's classes, up to a factor for each item, by which tiny ones do not vanish.

    Args:
        log_masses: logs of the teacher's masses, shape [*batch, teacher classes].
        projection: as of `projection_kl`.
        written: log of a mass that goes to one of the student's tokens beside them, shape [*batch, 1].
        token: that token, shape [*batch, 1].

    Returns:
        shape [*batch, student classes]; 0 where no mass has a place.
    """
    projection = projection.to(log_masses.device, log_masses.dtype)
    has_place = torch.sparse.sum(projection, dim=1).to_dense() > 0
    log_masses = torch.where(has_place, log_masses, torch.full_like(log_masses, LOWEST_LOGIT))
    highest = log_masses.amax(dim=-1, keepdim=True)
    if written is not None:
        highest = torch.maximum(highest, written)
    flat = (log_masses - highest).exp().reshape(-1, log_masses.shape[-1])
    with torch.autocast(log_masses.device.type, enabled=False):  # it has no sparse product in half precision
        found = (flat @ projection).reshape(*log_masses.shape[:-1], projection.shape[1])
    return found if written is None or token is None else found.scatter_add(-1, token, (written - highest).exp())


def _target(both: Aligned, projection: Tensor) -> Tensor:
    """The teacher's masses where spans begin, in the student's classes, [samples, spans, student classes].

    One token of the student covers all of the teacher's of its span, or is a beginning of the teacher's only one: the
    mass of what the teacher writes of it is the student's token's.
    """
    ours, theirs = both.student, both.teacher
    token = theirs.label.unsqueeze(-1)
    further = torch.where(ours.count == 1, theirs.further, torch.zeros_like(theirs.further)).unsqueeze(-1)
    begun = theirs.first.gather(-1, token)
    left = theirs.first.scatter(-1, token, begun + log_complement(further))
    return projected(left, projection, begun + further, ours.label.unsqueeze(-1))


def _kl(student: Tensor, masses: Tensor) -> Tensor:
    """KL from the masses, divided by their sum, to the student's log-probabilities, [*batch]; 0 where there is none."""
    total = masses.sum(dim=-1, keepdim=True)
    target = masses / torch.where(total > 0, total, torch.ones_like(total))
    return F.kl_div(student, target, reduction="none").sum(dim=-1)


class ProjectionKL(Loss):
    """`projection_kl` as a module; see there for shapes, units and sources. It learns nothing of its own.

    The projection is kept as its entries, in dense buffers, since sparse ones cannot be sent between processes.
    """

    entries: Tensor
    shares: Tensor

    facts = Facts(
        families=("sequences",),
        signal="logits",
        paper=Paper(
            title="X-Token: Projection-Guided Cross-Tokenizer Knowledge Distillation",
            authors="Sreenivas, Hanasoge, Yang, Taghibakhshi, Muralidharan, Aithal, Molchanov",
            year=2026,
            arxiv="2605.21699",
        ),
        takes=SPAN_INPUTS,
        exceptions={
            "class_permutation": "the rows and columns of the projection would have to be renamed too",
            "compiled": "torch.compile takes no sparse tensors",
        },
    )

    def __init__(self, projection: Tensor, *, temperature: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        if not isinstance(projection, Tensor) or projection.layout != torch.sparse_coo or projection.dim() != 2:
            came = projection.layout if isinstance(projection, Tensor) else type(projection).__name__
            raise ShapeError(
                "projection must be a sparse COO tensor [teacher classes, student classes], as "
                f"`domains.language.projection` makes it, got {came}: a dense one would fill the memory."
            )
        whole = projection.coalesce()
        self.register_buffer("entries", whole.indices())
        self.register_buffer("shares", whole.values())
        self.classes = tuple(whole.shape)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        labels: Tensor | None = None,
        spans: Tensor | None = None,
        teacher_labels: Tensor | None = None,
        teacher_spans: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return projection_kl(
            student_logits,
            teacher_logits,
            projection=torch.sparse_coo_tensor(self.entries, self.shares, self.classes, check_invariants=False),
            temperature=self.temperature,
            labels=labels,
            spans=spans,
            teacher_labels=teacher_labels,
            teacher_spans=teacher_spans,
            mask=mask,
            reduction=self.reduction,
        )
