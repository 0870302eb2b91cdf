"""Curriculum temperature: `kd` at one learned temperature, trained against the student."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    FLOAT64_FROM_TEMPERATURE,
    LOWEST_LOGIT,
    check_between,
    check_positive,
    check_same_shape,
    full_precision,
    hide_masked,
    log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def ctkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    global_temperature: Tensor,
    lowest_temperature: float = 1.0,
    temperature_range: float = 20.0,
    reversal: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Curriculum temperature KD: `kd` at a learned temperature that climbs the loss while the student descends it.

    temperature**2 * KL(teacher || student) of softmax(logits / temperature), with
    temperature = lowest_temperature + temperature_range * sigmoid(global_temperature). The gradient with respect
    to global_temperature, squared factor included, is multiplied by -reversal.

    When: instead of tuning the temperature of `kd`. Give the learned number to the student's optimiser, and let
    `reversal` follow `reversal_at` from epoch to epoch.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        global_temperature: the learned number before the sigmoid, one element; the authors start it at 1, which
            is a temperature of 15.6. Receives the reversed gradient.
        lowest_temperature: > 0, dimensionless; 1 in the authors' scripts.
        temperature_range: > 0, dimensionless; 20 in the authors' scripts, so that temperatures go from 1 to 21.
        reversal: strength of the reversal, from 0 (temperature stands still) to 1; lambda of the paper.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats times temperature squared: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if global_temperature has more than one element, a bound is not a positive finite number,
            reversal is outside 0 to 1, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(ctkd(student, teacher, global_temperature=torch.tensor([1.0])).item(), 4)
        0.1148

    Reference: Li, Li, Yang, Zhao, Song, Luo, Li, Yang (2023), arXiv:2211.16231.

    Differs: the paper's second variant, which predicts a temperature for each sample, is not offered.
    """
    check_same_shape(student_logits, teacher_logits, "logits")
    check_positive("lowest_temperature", lowest_temperature)
    check_positive("temperature_range", temperature_range)
    check_between("reversal", reversal, 0.0, 1.0)
    if global_temperature.numel() != 1:
        raise ConfigError(
            f"global_temperature must hold one number, got shape {tuple(global_temperature.shape)}: more would be "
            "broadcast against the classes. Pass CTKD().global_temperature or a tensor of shape [1]."
        )
    steered = _scale_gradient(global_temperature.reshape(()), -reversal)
    temperature = lowest_temperature + temperature_range * steered.sigmoid()
    student, teacher = full_precision(student_logits), full_precision(teacher_logits.detach())
    if lowest_temperature + temperature_range > FLOAT64_FROM_TEMPERATURE and student.device.type != "mps":
        student, teacher = student.double(), teacher.double()
    # -inf divided by the temperature would give the temperature a NaN gradient.
    student = log_probabilities(hide_masked(student, mask).clamp(min=LOWEST_LOGIT), temperature)
    teacher = log_probabilities(hide_masked(teacher, mask).clamp(min=LOWEST_LOGIT), temperature)
    values = (teacher.exp() * (teacher - student)).sum(dim=-1) * temperature**2
    return reduce(values, mask=mask, reduction=reduction)


def reversal_at(epoch: float, *, epochs: float = 10.0) -> float:
    """Strength of the reversal after `epoch` epochs: from 0 to 1 along half a cosine, then 1.

    Args:
        epoch: epochs done, 0 or more; fractions count.
        epochs: length of the climb; 10 on CIFAR-100, 5 on ImageNet in the authors' scripts.

    Example:
        >>> [round(reversal_at(epoch), 3) for epoch in (0, 5, 40)]
        [0.0, 0.5, 1.0]
    """
    done = min(max(epoch / check_positive("epochs", epochs), 0.0), 1.0)
    return (1.0 - math.cos(math.pi * done)) / 2.0


def _scale_gradient(value: Tensor, factor: float) -> Tensor:
    constant = value.detach()
    return constant + factor * (value - constant)


class CTKD(Loss):
    """`ctkd` as a module; see there for shapes, units and sources.

    Learns one number, `global_temperature`. Set the attribute `reversal` before each epoch, for example with
    `reversal_at`; read the temperature in force from the property `temperature`.

    Args:
        reversal: strength at the start of training, 0 to 1, else ConfigError; as an attribute it may be set again
            before each epoch.
    """

    facts = Facts(
        families=("logits",),
        signal="logits",
        paper=Paper(
            title="Curriculum Temperature for Knowledge Distillation",
            authors="Li, Li, Yang, Zhao, Song, Luo, Li, Yang",
            year=2023,
            arxiv="2211.16231",
            venue="AAAI",
        ),
        same_classes=True,
        learns="the temperature (one number, by reversed gradient)",
        exceptions={"gradcheck": "the learned temperature's gradient is reversed on purpose"},
    )

    def __init__(
        self,
        *,
        lowest_temperature: float = 1.0,
        temperature_range: float = 20.0,
        reversal: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.lowest_temperature = check_positive("lowest_temperature", lowest_temperature)
        self.temperature_range = check_positive("temperature_range", temperature_range)
        self.reversal = check_between("reversal", reversal, 0.0, 1.0)
        self.reduction: Reduction = reduction
        self.global_temperature = nn.Parameter(torch.ones(1))

    @property
    def temperature(self) -> Tensor:
        """The temperature in force, one element, detached."""
        return self.lowest_temperature + self.temperature_range * self.global_temperature.detach().sigmoid()

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return ctkd(
            student_logits,
            teacher_logits,
            global_temperature=self.global_temperature,
            lowest_temperature=self.lowest_temperature,
            temperature_range=self.temperature_range,
            reversal=self.reversal,
            mask=mask,
            reduction=self.reduction,
        )
