"""Distillation from a sparse teacher: its k most likely classes and the mass of all the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    LOWEST_LOGIT,
    check_positive,
    full_precision,
    hide_masked,
    log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

Tail = Literal["bucket", "renormalise", "ignore"]

SPARSE_LOGITS = Paper(
    title="Sparse Logit Sampling: Accelerating Knowledge Distillation in LLMs",
    authors="Anshumann, Zaidi, Kedia, Ahn, Kwon, Lee, Lee, Lee",
    year=2025,
    arxiv="2503.16870",
    venue="ACL 2025",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """What a sparse teacher says: the ids of k classes and their log-probabilities, in any order."""

    indices: Tensor
    """Class ids, int32 or int64, shape [*items, k]; no id twice among the entries above -inf."""
    log_probs: Tensor
    """Log-probabilities at `temperature`, shape [*items, k]; -inf marks an entry that is not there."""
    log_tail: Tensor | None = None
    """Log of the mass of all other classes, shape [*items]; None takes what `log_probs` leave to 1."""
    temperature: float = 1.0
    """The temperature that `log_probs` were made at."""

    def __post_init__(self) -> None:
        if self.indices.shape != self.log_probs.shape:
            raise ShapeError(
                f"indices and log_probs must have one shape [*items, k], got {tuple(self.indices.shape)} and "
                f"{tuple(self.log_probs.shape)}."
            )
        if self.log_tail is not None and self.log_tail.shape != self.log_probs.shape[:-1]:
            raise ShapeError(
                f"log_tail must have one entry per item, shape {tuple(self.log_probs.shape[:-1])}, got "
                f"{tuple(self.log_tail.shape)}."
            )

    @classmethod
    def from_logits(cls, logits: Tensor, k: int, *, temperature: float = 1.0) -> TopK:
        """The k most likely classes of dense logits [*items, classes], softened by `temperature`, and the tail."""
        check_whole("k", k, unit="classes")
        log_probs = log_probabilities(logits, temperature)
        kept, indices = log_probs.topk(min(k, log_probs.shape[-1]), dim=-1)
        log_tail = log_probs.scatter(-1, indices, LOWEST_LOGIT).logsumexp(dim=-1)
        return cls(indices=indices, log_probs=kept, log_tail=log_tail, temperature=temperature)


def top_k_kl(
    student_logits: Tensor,
    teacher: Tensor | TopK,
    *,
    k: int = 64,
    tail: Tail = "bucket",
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Forward KL divergence from a teacher of whom only k classes are known, with a choice for the rest.

    tail="bucket": KL over k + 1 outcomes, the k classes and one for all the others, on both sides. A lower
    bound of the full forward KL, 0 when both sides agree.
    tail="renormalise": KL over the k classes, both sides rescaled to 1 on them. The mass that the student
    puts elsewhere is free.
    tail="ignore": KL of the teacher, rescaled to 1 on the k classes, to the student as it is. Biased: the
    student is driven to say nothing outside the k classes, and the loss is not 0 where both sides agree.

    When: the teacher's outputs come from a cache or a server that keeps only the top of each distribution.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher: `TopK` with shape [*batch, k], or dense logits of the student's shape, whose top k is
            taken. Detached inside.
        k: classes to keep of a dense teacher; 32 to 128 in practice. A `TopK` brings its own.
        tail: what to do with the mass outside the k classes.
        temperature: softening, > 0, dimensionless. A `TopK` made at another temperature is softened anew,
            except with tail="bucket". No factor of the squared temperature is applied.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if teacher or mask do not fit the items.
        ConfigError: if tail, k, temperature or reduction is not allowed, or the tail would be needed at a
            temperature at which it is not known.

    Example:
        >>> import torch
        >>> teacher = TopK(indices=torch.tensor([[2, 0]]), log_probs=torch.tensor([[0.6, 0.3]]).log())
        >>> student = torch.tensor([[0.3, 0.2, 0.4, 0.1]]).log()
        >>> round(top_k_kl(student, teacher).item(), 4)
        0.1334

    Reference: Anshumann et al. (2025), Sparse Logit Sampling, arXiv:2503.16870, which shows the
        bias of what is called "ignore" here.

    Differs: the paper's remedy is `sampled_cross_entropy`; the bucket is the sparse loss that stays a
        divergence. DistillKit calls it SYMMETRIC_UNIFORM, and "ignore" ZERO.
    """
    student, known = prepare(student_logits, teacher, k=k, tail=tail, temperature=temperature, mask=mask)
    values = (known.exp() * (known - student)).sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


def check_tail(tail: Tail) -> Tail:
    """Return `tail` if it is one of the three words, else raise ConfigError."""
    if tail not in get_args(Tail):
        raise ConfigError(f"tail must be one of {', '.join(map(repr, get_args(Tail)))}, got {tail!r}.")
    return tail


def prepare(
    student_logits: Tensor, teacher: Tensor | TopK, *, k: int, tail: Tail, temperature: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the student and of the teacher over the same outcomes: k classes, and the tail.

    Args:
        student_logits: shape [*batch, classes]. Receives gradient.
        teacher: `TopK` or dense logits. Detached.
        k: classes to keep of a dense teacher.
        tail: "bucket" and "ignore" give k + 1 outcomes, "renormalise" k.
        temperature: above 0.
        mask: shape [*batch], True where the item counts.

    Returns:
        Student and teacher, shape [*batch, outcomes]; an outcome that cannot occur has LOWEST_LOGIT on
        the teacher's side, and on both if it is an entry that is not there.
    """
    check_tail(tail)
    check_positive("temperature", temperature)
    sparse = sparse_teacher(student_logits.shape, teacher, k=k, temperature=temperature, mask=mask)
    student = log_probabilities(hide_masked(student_logits, mask), temperature)
    known = known_outcomes(sparse, tail=tail, temperature=temperature, classes=student.shape[-1], dtype=student.dtype)
    there = sparse.log_probs > LOWEST_LOGIT / 10
    inside = student.gather(-1, sparse.indices).masked_fill(~there, LOWEST_LOGIT)
    if tail == "renormalise":
        return torch.log_softmax(inside, dim=-1), known
    members = torch.zeros_like(student).scatter_add(-1, sparse.indices, there.to(student.dtype)) > 0
    outside = student.masked_fill(members, LOWEST_LOGIT).logsumexp(dim=-1, keepdim=True)
    return torch.cat([inside, outside], dim=-1), known


def known_outcomes(sparse: TopK, *, tail: Tail, temperature: float, classes: int, dtype: torch.dtype) -> Tensor:
    """The teacher's log-probabilities of the outcomes that are compared: its k classes, and the tail.

    Args:
        sparse: the teacher, as `sparse_teacher` gives it.
        tail: "bucket" and "ignore" give k + 1 outcomes, "renormalise" k.
        temperature: at which the outcomes are wanted.
        classes: of the whole vocabulary.
        dtype: of the result.

    Returns:
        Shape [*items, outcomes]; LOWEST_LOGIT, or near it, for what cannot occur.

    Raises:
        ConfigError: if the tail would be needed at a temperature at which it is not known.
    """
    made_there = sparse.temperature == temperature
    if tail == "bucket" and not made_there:
        raise ConfigError(
            f"temperature is {temperature} but the teacher's top k was made at {sparse.temperature}: the mass of its "
            "tail at another temperature is not known. Make the top k at that temperature, or use another tail."
        )
    known = sparse.log_probs if made_there else sparse.log_probs * (sparse.temperature / temperature)
    known = known.to(dtype).clamp(min=LOWEST_LOGIT)
    if tail == "renormalise":
        return torch.log_softmax(known, dim=-1)
    if tail == "ignore":
        rest = torch.full_like(known[..., :1], LOWEST_LOGIT)
    else:
        every = (sparse.log_probs > LOWEST_LOGIT / 10).sum(dim=-1, keepdim=True) >= classes
        rest = log_tail_of(sparse, known).unsqueeze(-1).masked_fill(every, LOWEST_LOGIT)
    return torch.log_softmax(torch.cat([known, rest], dim=-1), dim=-1)


def sparse_teacher(
    shape: torch.Size, teacher: Tensor | TopK, *, k: int, temperature: float, mask: Tensor | None
) -> TopK:
    """The teacher as a `TopK` that fits the student: checked, detached, masked items hidden.

    Args:
        shape: of the student's logits, [*batch, classes].
        teacher: `TopK` with shape [*batch, k], or dense logits of the student's shape.
        k: classes to keep of a dense teacher.
        temperature: at which a dense teacher is softened.
        mask: shape [*batch], True where the item counts.
    """
    if isinstance(teacher, Tensor):
        if teacher.shape != shape:
            raise ShapeError(
                f"dense teacher logits must have the shape of student_logits: student {tuple(shape)}, "
                f"teacher {tuple(teacher.shape)}. Pass a TopK for a sparse teacher, or map the classes."
            )
        return TopK.from_logits(hide_masked(teacher.detach(), mask), k, temperature=temperature)
    if teacher.indices.shape[:-1] != shape[:-1]:
        raise ShapeError(
            f"the teacher's top k must have the student's items {tuple(shape[:-1])}, got "
            f"{tuple(teacher.indices.shape[:-1])}: its entries would meet the wrong tokens."
        )
    return TopK(
        indices=hide_masked(teacher.indices, mask).long(),
        log_probs=full_precision(hide_masked(teacher.log_probs.detach(), mask)),
        log_tail=None if teacher.log_tail is None else full_precision(hide_masked(teacher.log_tail.detach(), mask)),
        temperature=teacher.temperature,
    )


def log_tail_of(sparse: TopK, known: Tensor) -> Tensor:
    """Log of the teacher's mass outside its k classes, LOWEST_LOGIT where they hold all of it."""
    if sparse.log_tail is not None:
        return sparse.log_tail.to(known.dtype).clamp(min=LOWEST_LOGIT)
    # Log-probabilities rounded for storage may exceed 1 together; nothing is left for the tail then.
    left = -torch.expm1(known.logsumexp(dim=-1))
    return torch.where(left > 0, left.clamp(min=torch.finfo(left.dtype).tiny).log(), LOWEST_LOGIT)


class TopKKL(Loss):
    """`top_k_kl` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=SPARSE_LOGITS,
        same_classes=True,
    )

    def __init__(
        self, k: int = 64, *, tail: Tail = "bucket", temperature: float = 1.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.k = k
        self.tail: Tail = check_tail(tail)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher: Tensor | TopK, *, mask: Tensor | None = None) -> Tensor:
        return top_k_kl(
            student_logits,
            teacher,
            k=self.k,
            tail=self.tail,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
