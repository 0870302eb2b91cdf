"""Multi-level logit distillation: samples, pairs of samples and pairs of classes, at several temperatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.losses.inputs import check_positive, check_weight
from knowledge_distillation.losses.logits.batch_correlation import MULTI_LEVEL, batch_correlation
from knowledge_distillation.losses.logits.class_correlation import class_correlation
from knowledge_distillation.losses.logits.kd import kd
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def mlkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperatures: float | Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    instance_weight: float = 1.0,
    batch_weight: float = 1.0,
    class_weight: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Multi-level logit distillation: instance, batch and class alignment, summed over several temperatures.

    Sum over temperatures of instance_weight * `kd` + batch_weight * `batch_correlation`
    + class_weight * `class_correlation`.

    When: image classification with a few hundred classes and batches large enough for pairs to mean something.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperatures: one or several, each > 0, the paper's prediction augmentation; 2 to 6 in the authors' code.
        instance_weight: >= 0, of the sample-by-sample KL.
        batch_weight: >= 0, of the pairs of samples.
        class_weight: >= 0, of the pairs of classes.
        mask: shape [*batch], True where the item counts; a masked item leaves every pair and sum.
        reduction: "mean" over counted items (the paper's loss), "sum", or "none" for one value per item, shape
            [*batch].

    Returns:
        A weighted sum of unlike units: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if there is no temperature, one is not a positive finite number, a weight is negative or not
            finite, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(mlkd(student, teacher, temperatures=(2.0, 4.0)).item(), 4)
        0.2506

    Reference: Jin, Wang, Lin (2023), CVPR, pages 24276-24285.

    Differs: the authors' code scales the three parts by the share of samples (or classes) whose confidence is
        below the median, which with an even batch is a constant of one half, and adds `kd` on a second, strongly
        augmented view. Here the weights say it, and a second view is a second term.
    """
    parts: tuple[tuple[float, Callable[..., Tensor]], ...] = (
        (check_weight("instance_weight", instance_weight), kd),
        (check_weight("batch_weight", batch_weight), batch_correlation),
        (check_weight("class_weight", class_weight), class_correlation),
    )
    values = torch.zeros(student_logits.shape[:-1], device=student_logits.device)
    for temperature in check_temperatures(temperatures):
        for weight, part in parts:
            values = values + weight * part(
                student_logits, teacher_logits, temperature=temperature, mask=mask, reduction="none"
            )
    return reduce(values, mask=mask, reduction=reduction)


def check_temperatures(temperatures: float | Sequence[float]) -> tuple[float, ...]:
    """Return the temperatures as a tuple if there is at least one and each is a finite number above 0."""
    if isinstance(temperatures, (int, float)):
        temperatures = (temperatures,)
    if isinstance(temperatures, str) or not len(temperatures):
        raise ConfigError(f"temperatures must be a number or a list of at least one, got {temperatures!r}.")
    return tuple(check_positive("each of temperatures", temperature) for temperature in temperatures)


class MLKD(Loss):
    """`mlkd` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits", "relations"),
        signal="logits",
        paper=MULTI_LEVEL,
        same_classes=True,
        exceptions={"micro_batches": "pairs of samples and class sums span the whole batch"},
    )

    def __init__(
        self,
        temperatures: float | Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
        *,
        instance_weight: float = 1.0,
        batch_weight: float = 1.0,
        class_weight: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.temperatures = check_temperatures(temperatures)
        self.instance_weight = check_weight("instance_weight", instance_weight)
        self.batch_weight = check_weight("batch_weight", batch_weight)
        self.class_weight = check_weight("class_weight", class_weight)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return mlkd(
            student_logits,
            teacher_logits,
            temperatures=self.temperatures,
            instance_weight=self.instance_weight,
            batch_weight=self.batch_weight,
            class_weight=self.class_weight,
            mask=mask,
            reduction=self.reduction,
        )
