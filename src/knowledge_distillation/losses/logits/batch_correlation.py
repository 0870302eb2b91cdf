"""Which samples of the batch are predicted alike: batch-level alignment of multi-level logit distillation."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.losses.logits.probabilities import paired_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

MULTI_LEVEL = Paper(
    title="Multi-Level Logit Distillation", authors="Jin, Wang, Lin", year=2023, venue="CVPR, pages 24276-24285"
)


def batch_correlation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared difference of the sample-by-sample similarities of the predictions.

    Sum over all pairs (i, j) of (<p_t[i], p_t[j]> - <p_s[i], p_s[j]>)**2 / items, with
    p = softmax(logits / temperature).

    When: as the batch-level part of `mlkd`, or beside any loss that looks at samples one by one.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless; the authors use 2 to 6. No factor of the squared temperature.
        mask: shape [*batch], True where the item counts; a masked item leaves every pair.
        reduction: "mean" over counted items (the paper's loss), "sum", or "none" for one value per item, shape
            [*batch]: the sum over the pairs that the item leads.

    Returns:
        Dimensionless: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
        >>> student = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
        >>> round(batch_correlation(student, teacher, temperature=1.0).item(), 4)
        0.999

    Reference: Jin, Wang, Lin (2023), batch-level alignment, CVPR.
    """
    student, teacher = paired_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    # P_t P_t' - P_s P_s' as the symmetric part of (P_t - P_s)(P_t + P_s)': no two nearly equal numbers subtracted.
    product = (teacher - student) @ (teacher + student).T
    values = ((product + product.T) / 2).square().sum(dim=-1)
    return reduce(values.view(student_logits.shape[:-1]), mask=mask, reduction=reduction)


class BatchCorrelation(Loss):
    """`batch_correlation` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits", "relations"),
        signal="logits",
        paper=MULTI_LEVEL,
        same_classes=True,
        exceptions={"micro_batches": "pairs of samples span the whole batch"},
    )

    def __init__(self, temperature: float = 4.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return batch_correlation(
            student_logits, teacher_logits, temperature=self.temperature, mask=mask, reduction=self.reduction
        )
