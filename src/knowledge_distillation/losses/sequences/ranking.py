"""Ranking losses on the teacher's top k: the student must order the classes as the teacher does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import LOWEST_LOGIT, check_positive, hide_masked, log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.top_k import TopK, sparse_teacher


def hinge_ranking(
    student_logits: Tensor,
    teacher: Tensor | TopK,
    *,
    k: int = 16,
    margin: float | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Hinge ranking loss: of two classes the student must prefer the teacher's favourite by a margin.

    Mean over the pairs (i, j) of the teacher's top k with p_t[i] > p_t[j] of
    max(0, margin - (p_s[i] - p_s[j])), with p = softmax(logits) over all classes.

    When: the order of the likely classes matters more than their probabilities, as in retrieval and
    in sampling from a language model.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher: `TopK` with shape [*batch, k], or dense logits of the student's shape, whose top k is
            taken. Detached inside.
        k: classes to keep of a dense teacher; the pairs grow with its square. A `TopK` brings its own.
        margin: by how much the probabilities must differ, > 0; None takes the teacher's own difference,
            at which the loss is 0 when both sides agree.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Dimensionless, a difference of probabilities: a scalar, or [*batch] for "none". 0 for an item whose
        teacher prefers no class, and when no item counts.

    Raises:
        ShapeError: if teacher or mask do not fit the items.
        ConfigError: if margin is not a positive finite number, k is below 1, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.7, 0.2, 0.1]]).log()
        >>> student = torch.tensor([[0.5, 0.1, 0.4]]).log()
        >>> round(hinge_ranking(student, teacher, k=3).item(), 4)
        0.3333

    Reference: Herbrich, Graepel, Obermayer (2000), Large Margin Rank Boundaries for Ordinal Regression; on a
        language model's top k as in DistillKit.

    Differs: DistillKit averages over the pairs of all tokens together; here each token weighs the same,
        which is equal whenever all have as many pairs.
    """
    if margin is not None:
        check_positive("margin", margin)
    student, known = on_top_k(student_logits, teacher, k=k, mask=mask)
    gaps = pairwise(student.exp())
    wanted = pairwise(known.exp()) if margin is None else margin
    return reduce(mean_over_pairs(torch.relu(wanted - gaps), known), mask=mask, reduction=reduction)


def logistic_ranking(
    student_logits: Tensor,
    teacher: Tensor | TopK,
    *,
    k: int = 16,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Logistic ranking loss: of two classes the student should give the teacher's favourite the higher score.

    Mean over the pairs (i, j) of the teacher's top k with p_t[i] > p_t[j] of log(1 + exp(z_s[j] - z_s[i])),
    with z_s the student's logits.

    When: as `hinge_ranking`, where a right order should still be made surer.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher: `TopK` with shape [*batch, k], or dense logits of the student's shape, whose top k is
            taken. Detached inside.
        k: classes to keep of a dense teacher; the pairs grow with its square. A `TopK` brings its own.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 for an item whose teacher prefers no class, and when no
        item counts.

    Raises:
        ShapeError: if teacher or mask do not fit the items.
        ConfigError: if k is below 1, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[3.0, 2.0, 1.0]])
        >>> student = torch.tensor([[1.0, 1.0, 0.0]])
        >>> round(logistic_ranking(student, teacher, k=3).item(), 4)
        0.4399

    Reference: Burges et al. (2005), Learning to Rank using Gradient Descent (RankNet); on a language
        model's top k as in DistillKit.

    Differs: DistillKit averages over the pairs of all tokens together; here each token weighs the same,
        which is equal whenever all have as many pairs.
    """
    student, known = on_top_k(student_logits, teacher, k=k, mask=mask)
    return reduce(mean_over_pairs(F.softplus(-pairwise(student)), known), mask=mask, reduction=reduction)


def on_top_k(student_logits: Tensor, teacher: Tensor | TopK, *, k: int, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Student's and teacher's log-probabilities of the teacher's k classes, shape [*batch, k] each."""
    sparse = sparse_teacher(student_logits.shape, teacher, k=k, temperature=1.0, mask=mask)
    student = log_probabilities(hide_masked(student_logits, mask)).gather(-1, sparse.indices)
    return student, sparse.log_probs.to(student.dtype).clamp(min=LOWEST_LOGIT)


def pairwise(values: Tensor) -> Tensor:
    """values[i] - values[j] for every pair, shape [*batch, k, k]."""
    return values.unsqueeze(-1) - values.unsqueeze(-2)


def mean_over_pairs(losses: Tensor, known: Tensor) -> Tensor:
    """Mean of losses [*batch, k, k] over the pairs that the teacher orders; 0 where there is none."""
    there = known > LOWEST_LOGIT / 10
    counted = (pairwise(known) > 0) & there.unsqueeze(-1) & there.unsqueeze(-2)
    total = torch.where(counted, losses, torch.zeros_like(losses)).sum(dim=(-2, -1))
    return total / counted.sum(dim=(-2, -1)).clamp(min=1)


class HingeRanking(Loss):
    """`hinge_ranking` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="Large Margin Rank Boundaries for Ordinal Regression",
            authors="Herbrich, Graepel, Obermayer",
            year=2000,
            venue="Advances in Large Margin Classifiers",
        ),
        same_classes=True,
        exceptions={"temperature_range": "it takes no temperature"},
    )

    def __init__(self, k: int = 16, *, margin: float | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.k = k
        self.margin = None if margin is None else check_positive("margin", margin)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher: Tensor | TopK, *, mask: Tensor | None = None) -> Tensor:
        return hinge_ranking(student_logits, teacher, k=self.k, margin=self.margin, mask=mask, reduction=self.reduction)


class LogisticRanking(Loss):
    """`logistic_ranking` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="Learning to Rank using Gradient Descent",
            authors="Burges, Shaked, Renshaw, Lazier, Deeds, Hamilton, Hullender",
            year=2005,
            venue="ICML 2005",
        ),
        same_classes=True,
        exceptions={
            "zero_at_equality": "a right order can always be made surer",
            "temperature_range": "it takes no temperature",
        },
    )

    def __init__(self, k: int = 16, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.k = k
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher: Tensor | TopK, *, mask: Tensor | None = None) -> Tensor:
        return logistic_ranking(student_logits, teacher, k=self.k, mask=mask, reduction=self.reduction)
