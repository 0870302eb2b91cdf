"""Divergence and cross-entropy in one pass, from hidden states or logits, in little time and memory."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.kernels.backends import Backend
from knowledge_distillation.kernels.fused import fused
from knowledge_distillation.kernels.sides import Side
from knowledge_distillation.kernels.task import Shaping, Task
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    FLOAT64_FROM_TEMPERATURE,
    check_between,
    check_labels,
    check_positive,
    check_weight,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, check_mask, check_reduction
from knowledge_distillation.losses.sequences.mixture import check_share
from knowledge_distillation.losses.sequences.projected import Projected
from knowledge_distillation.losses.sequences.top_k import Tail, TopK, check_tail, known_outcomes, sparse_teacher

Divergence = Literal["forward_kl", "reverse_kl", "generalized_jsd", "skew_forward_kl", "skew_reverse_kl", "tvd"]


def fused_divergence(
    student: Tensor | Projected,
    teacher: Tensor | Projected | TopK,
    *,
    divergence: Divergence = "forward_kl",
    beta: float = 0.5,
    skew: float = 0.1,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    labels: Tensor | None = None,
    ignore_index: int = -100,
    tail: Tail = "bucket",
    temperature: float = 1.0,
    chunk_size: int | None = None,
    backend: Backend = "auto",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """A divergence of teacher and student, mixed with cross-entropy, without ever making whole logits.

    soft_weight * divergence(student, teacher) + hard_weight * cross_entropy(student, labels): the value and the
    gradient of the functions of these names, each with its own mean, computed by chunks of items. With
    `Projected` on a side only one chunk of its logits is there at a time; masked items are not computed at all.

    When: large vocabularies, where logits and their gradients fill the memory, and most of the time of a loss goes
    into moving them.

    Args:
        student: `Projected`, hidden states and a head, or unnormalised scores, shape [*batch, classes]. Hidden
            states, weight, bias and scores receive gradient, as far as they require it.
        teacher: the same for items and classes of the student, or `TopK` with shape [*batch, k]. Detached inside.
        divergence: the name of the plain loss. With a `TopK` it is taken over its k classes and the tail, as
            `top_k_kl` and `top_k_tvd` do.
        beta: share of the teacher in the mixture of "generalized_jsd", 0 to 1.
        skew: of "skew_forward_kl" and "skew_reverse_kl", above 0 and below 1.
        soft_weight: weight of the divergence, >= 0.
        hard_weight: weight of the cross-entropy, >= 0, at temperature 1; above 0 it needs labels.
        labels: class ids from 0 to classes - 1, or `ignore_index`, shape [*batch].
        ignore_index: items with this label do not count in the cross-entropy.
        tail: what to do with the mass outside a `TopK`'s k classes; see `top_k_kl`.
        temperature: softening, > 0, dimensionless. No factor of its square is applied: put it into soft_weight.
        chunk_size: items whose logits are there at one time; fewer need less memory, and more time below some
            hundreds. None chooses by the classes and the device.
        backend: "chunked" is PyTorch alone; "compiled" its inner part through torch.compile; "triton" a kernel for
            CUDA; "auto" is "triton" where that can be, else "chunked". The result is the same.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch]. With
            "none" the gradient takes a second pass over the chunks.

    Returns:
        Nats, or the unit of the divergence: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if items, classes, labels or mask do not fit each other.
        ConfigError: if a setting is not allowed, labels are missing, or the tail would be needed at a temperature
            at which it is not known.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = Projected(hidden=torch.tensor([[1.0]]), weight=torch.tensor([[1.0], [0.0], [0.0]]))
        >>> round(fused_divergence(student, teacher, hard_weight=0.5, labels=torch.tensor([0])).item(), 3)
        0.375

    Reference: Hsu et al. (2024), Liger Kernel, arXiv:2410.10989 (the gradient of the head beside the loss, by
        chunks).

    Differs: Liger rounds logits to bfloat16 before the divergence; here logits, softmax and the sum of the head's
        gradient are float32 for half-precision models. Second derivatives are not to be had.
    """
    check_settings(divergence, beta, skew, soft_weight, hard_weight, tail, temperature, backend)
    check_reduction(reduction)
    if chunk_size is not None:
        check_whole("chunk_size", chunk_size, unit="items")
    shape = student.shape
    items = shape[:-1]
    task = Task(
        divergence=divergence,
        share=beta if divergence == "generalized_jsd" else skew,
        temperature=temperature,
        student=shaping(student),
        teacher=Shaping() if isinstance(teacher, TopK) else shaping(teacher),
    )
    counted = None
    if mask is not None:
        check_mask(mask, items)
        counted = mask.bool().flatten().nonzero().squeeze(-1)
    ours = side_of(student)
    device, double = ours.states.device, ours.states.dtype == torch.float64 or temperature > FLOAT64_FROM_TEMPERATURE
    dtype = torch.float64 if double and device.type != "mps" else torch.float32
    known = None
    if isinstance(teacher, TopK):
        sparse = sparse_teacher(shape, teacher, k=0, temperature=temperature, mask=mask)
        known = in_rows(known_outcomes(sparse, tail=tail, temperature=temperature, classes=shape[-1], dtype=dtype))
        theirs = Side(in_rows(sparse.indices))
    else:
        check_classes(shape, teacher.shape)
        theirs = side_of(teacher)
    soft = torch.full((items.numel(),), soft_weight, dtype=dtype, device=device)
    hard = torch.full_like(soft, hard_weight)
    if hard_weight:
        labels = check_labels(labels, student).flatten()
        labelled = labels != ignore_index
        hard, labels = hard * labelled, labels.masked_fill(~labelled, 0)
    if reduction == "mean":
        soft = soft / max(1, items.numel() if counted is None else len(counted))
        if hard_weight:
            hard = hard / (labelled if counted is None else labelled[counted]).sum().clamp(min=1)
    result = fused(
        task,
        ours,
        theirs,
        known=known,
        labels=labels if hard_weight else None,
        soft=soft,
        hard=hard,
        counted=counted,
        total=reduction != "none",
        chunk=chunk_size,
        backend=backend,
    )
    return result.view(items) if reduction == "none" else result


def check_settings(
    divergence: Divergence,
    beta: float,
    skew: float,
    soft_weight: float,
    hard_weight: float,
    tail: Tail,
    temperature: float,
    backend: Backend,
) -> None:
    """Raise ConfigError for the first setting that is not allowed."""
    for name, value, words in (("divergence", divergence, Divergence), ("backend", backend, Backend)):
        if value not in get_args(words):
            raise ConfigError(f"{name} must be one of {', '.join(map(repr, get_args(words)))}, got {value!r}.")
    check_between("beta", beta, 0.0, 1.0)
    check_share("skew", skew)
    check_weight("soft_weight", soft_weight)
    check_weight("hard_weight", hard_weight)
    check_tail(tail)
    check_positive("temperature", temperature)


def check_classes(student: torch.Size, teacher: torch.Size) -> None:
    """Raise ShapeError unless both sides have the same items and classes."""
    if student != teacher:
        raise ShapeError(
            f"teacher must have the items and classes of student: logits {tuple(student)} and {tuple(teacher)}. "
            "Tokens or classes would be compared that do not belong together; cut or map the larger vocabulary."
        )


def side_of(logits: Tensor | Projected) -> Side:
    """The tensors of one side, items flattened."""
    if isinstance(logits, Projected):
        return Side(in_rows(logits.hidden), logits.weight, logits.bias)
    return Side(in_rows(logits))


def in_rows(tensor: Tensor) -> Tensor:
    """[*items, n] -> [items, n]."""
    return tensor.reshape(-1, tensor.shape[-1])


def shaping(logits: Tensor | Projected) -> Shaping:
    """What turns the scores of one side into its logits."""
    return Shaping(scale=logits.scale, softcap=logits.softcap) if isinstance(logits, Projected) else Shaping()


class FusedDivergence(Loss):
    """`fused_divergence` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="Liger Kernel: Efficient Triton Kernels for LLM Training",
            authors="Hsu, Dai, Kothapalli, Song, Tang, Zhu, Shimizu, Sahni, Ning, Chen",
            year=2024,
            arxiv="2410.10989",
        ),
        takes=("labels",),
        same_classes=True,
        exceptions={"compiled": "it is compiled apart: the graph of a compiled model breaks before and after it"},
    )

    def __init__(
        self,
        divergence: Divergence = "forward_kl",
        *,
        beta: float = 0.5,
        skew: float = 0.1,
        soft_weight: float = 1.0,
        hard_weight: float = 0.0,
        ignore_index: int = -100,
        tail: Tail = "bucket",
        temperature: float = 1.0,
        chunk_size: int | None = None,
        backend: Backend = "auto",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_settings(divergence, beta, skew, soft_weight, hard_weight, tail, temperature, backend)
        self.divergence: Divergence = divergence
        self.beta = beta
        self.skew = skew
        self.soft_weight = soft_weight
        self.hard_weight = hard_weight
        self.ignore_index = ignore_index
        self.tail: Tail = tail
        self.temperature = temperature
        self.chunk_size = chunk_size
        self.backend: Backend = backend
        self.reduction: Reduction = reduction

    def forward(
        self,
        student: Tensor | Projected,
        teacher: Tensor | Projected | TopK,
        *,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return fused_divergence(
            student,
            teacher,
            divergence=self.divergence,
            beta=self.beta,
            skew=self.skew,
            soft_weight=self.soft_weight,
            hard_weight=self.hard_weight,
            labels=labels,
            ignore_index=self.ignore_index,
            tail=self.tail,
            temperature=self.temperature,
            chunk_size=self.chunk_size,
            backend=self.backend,
            mask=mask,
            reduction=self.reduction,
        )
