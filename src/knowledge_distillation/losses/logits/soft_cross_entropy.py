"""Cross-entropy with the teacher's softened outputs as targets."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.losses.inputs import check_positive, paired_log_probabilities
from knowledge_distillation.losses.logits.kd import HINTON
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def soft_cross_entropy(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    scale_by_temperature_squared: bool = False,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy H(teacher, student) of the softened outputs, the form in which Hinton wrote his loss.

    -sum over classes of p_t * log p_s, with p = softmax(logits / temperature).

    When: to compare logged values with a code base that reports the cross-entropy. The gradient is that of
    `forward_kl` (with the scaling: of `kd`), whose value is easier to read, being 0 at agreement.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless.
        scale_by_temperature_squared: multiply by temperature**2, which keeps the gradient's size when the
            temperature changes.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats (times temperature squared if asked): a scalar, or [*batch] for "none". At agreement the
        teacher's entropy. 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(soft_cross_entropy(student, teacher).item(), 4)
        0.7645

    Reference: Hinton, Vinyals, Dean (2015), arXiv:1503.02531.
    """
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    values = -(teacher.exp() * student).sum(dim=-1)
    if scale_by_temperature_squared:
        values = values * temperature**2
    return reduce(values, mask=mask, reduction=reduction)


class SoftCrossEntropy(Loss):
    """`soft_cross_entropy` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits", "sequences"),
        signal="logits",
        paper=HINTON,
        same_classes=True,
        exceptions={"zero_at_equality": "a cross-entropy keeps the teacher's entropy"},
    )

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        scale_by_temperature_squared: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.scale_by_temperature_squared = scale_by_temperature_squared
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return soft_cross_entropy(
            student_logits,
            teacher_logits,
            temperature=self.temperature,
            scale_by_temperature_squared=self.scale_by_temperature_squared,
            mask=mask,
            reduction=self.reduction,
        )
