"""Total variation distance to a sparse teacher: its k most likely classes and the mass of all the others."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.top_k import Tail, TopK, check_tail, prepare


def top_k_tvd(
    student_logits: Tensor,
    teacher: Tensor | TopK,
    *,
    k: int = 64,
    tail: Tail = "bucket",
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Total variation distance to a teacher of whom only k classes are known; the tail as in `top_k_kl`.

    0.5 * sum over outcomes of |p_t - p_s|: the k classes, and with tail="bucket" or "ignore" one outcome
    for all the others, which has mass 0 for the teacher under "ignore".

    When: as `tvd`, with the teacher's outputs from a cache or a server.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher: `TopK` with shape [*batch, k], or dense logits of the student's shape, whose top k is
            taken. Detached inside.
        k: classes to keep of a dense teacher; 32 to 128 in practice. A `TopK` brings its own.
        tail: what to do with the mass outside the k classes; "ignore" is biased, see `top_k_kl`.
        temperature: softening, > 0, dimensionless; see `top_k_kl`.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Dimensionless, from 0 to 1: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if teacher or mask do not fit the items.
        ConfigError: if tail, k, temperature or reduction is not allowed, or the tail would be needed at a
            temperature at which it is not known.

    Example:
        >>> import torch
        >>> teacher = TopK(indices=torch.tensor([[2, 0]]), log_probs=torch.tensor([[0.6, 0.3]]).log())
        >>> student = torch.tensor([[0.3, 0.2, 0.4, 0.1]]).log()
        >>> round(top_k_tvd(student, teacher).item(), 4)
        0.2

    Reference: Wen, Li, Du, Mou (2023), arXiv:2307.15190; the bucket for the tail as in DistillKit.
    """
    student, known = prepare(student_logits, teacher, k=k, tail=tail, temperature=temperature, mask=mask)
    values = 0.5 * (known.exp() - student.exp()).abs().sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


class TopKTVD(Loss):
    """`top_k_tvd` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="f-Divergence Minimization for Sequence-Level Knowledge Distillation",
            authors="Wen, Li, Du, Mou",
            year=2023,
            arxiv="2307.15190",
            venue="ACL 2023",
        ),
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
        return top_k_tvd(
            student_logits,
            teacher,
            k=self.k,
            tail=self.tail,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
