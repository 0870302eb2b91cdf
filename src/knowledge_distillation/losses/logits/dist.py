"""DIST: correlation instead of equality, along the classes and along the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_weight, hide_masked
from knowledge_distillation.losses.logits.centred import centred, length
from knowledge_distillation.losses.logits.probabilities import paired_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
    eps: float = 1e-8,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """DIST: 1 - Pearson correlation of the predictions, per item over classes and per class over items.

    temperature**2 * (inter_weight * (1 - mean over items of r(p_s[i, :], p_t[i, :])) + intra_weight *
    (1 - mean over classes of r(p_s[:, c], p_t[:, c]))), with p = softmax(logits / temperature) and
    r(a, b) = <a - mean a, b - mean b> / (|a - mean a| * |b - mean b| + eps).

    When: the teacher is much stronger than the student, so that exact probabilities are out of reach while
    their order and proportions are not. Dense logits [N, C, H, W] come as `logits.movedim(1, -1)`.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless; the authors use 1 on ImageNet, 4 on CIFAR-100.
        inter_weight: >= 0, of the relation between classes within an item; beta of the paper.
        intra_weight: >= 0, of the relation between items within a class; gamma of the paper.
        eps: added to the product of the norms, dimensionless; 1e-8 in the authors' code. It lets a class that
            neither side ever predicts fade out instead of correlating noise.
        mask: shape [*batch], True where the item counts; a masked item leaves every relation.
        reduction: "mean" over counted items (the paper's loss), "sum" (that times the items), or "none" for one
            value per item, shape [*batch]: the item's share, which may be below 0 for the relation over items.

    Returns:
        Dimensionless, from 0 to 2 * temperature**2 * (inter_weight + intra_weight): a scalar, or [*batch] for
        "none". 0 when no item counts; the relation over items is 0 for a single item.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature or eps is not a positive finite number, a weight is negative or not finite, or
            reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> round(dist(student, teacher).item(), 4)
        1.0833

    Reference: Huang, You, Wang, Qian, Xu (2022), arXiv:2205.10536.

    Differs: the squared temperature is in the code the authors train with (image_classification_sota); the loss
        in their DIST_KD repository has no temperature. A single item has no relation over items: 0 here, the
        constant 1 there. Values that differ only by rounding correlate with nothing and get no gradient, where the
        formula's may reach 1 / eps.
    """
    check_positive("eps", eps)
    check_weight("inter_weight", inter_weight)
    check_weight("intra_weight", intra_weight)
    student, teacher = paired_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    counted = hide_masked(student.new_ones(student_logits.shape[:-1]), mask).reshape(-1, 1)
    items = counted.sum()
    within = _correlation_terms(student, teacher, torch.ones_like(student), dim=1, eps=eps)
    across = _correlation_terms(student, teacher, counted, dim=0, eps=eps)
    values = temperature**2 * (
        inter_weight * (1.0 - within.sum(dim=1))
        + intra_weight * torch.where(items > 1, 1.0 - items * across.mean(dim=1), 0.0)
    )
    return reduce(values.view(student_logits.shape[:-1]), mask=mask, reduction=reduction)


def _correlation_terms(first: Tensor, second: Tensor, counted: Tensor, *, dim: int, eps: float) -> Tensor:
    """Terms, shape [items, classes], whose sums over `dim` are the correlations along it."""
    first, second = centred(first, counted, dim), centred(second, counted, dim)
    return first * second / (length(first, dim) * length(second, dim) + eps)


class DIST(Loss):
    """`dist` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits", "relations", "dense"),
        signal="logits",
        paper=Paper(
            title="Knowledge Distillation from A Stronger Teacher",
            authors="Huang, You, Wang, Qian, Xu",
            year=2022,
            arxiv="2205.10536",
            venue="NeurIPS",
        ),
        same_classes=True,
        exceptions={
            "micro_batches": "the relation over items spans the whole batch",
            "zero_at_equality": "eps leaves about eps / variance above 0",
        },
    )

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        inter_weight: float = 1.0,
        intra_weight: float = 1.0,
        eps: float = 1e-8,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.inter_weight = check_weight("inter_weight", inter_weight)
        self.intra_weight = check_weight("intra_weight", intra_weight)
        self.eps = check_positive("eps", eps)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return dist(
            student_logits,
            teacher_logits,
            temperature=self.temperature,
            inter_weight=self.inter_weight,
            intra_weight=self.intra_weight,
            eps=self.eps,
            mask=mask,
            reduction=self.reduction,
        )
