"""Logit standardisation: any logit loss on z-scores, so that only the relations of the logits are taught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_same_shape, full_precision, hide_masked
from knowledge_distillation.losses.logits.centred import centred, length
from knowledge_distillation.losses.logits.kd import KD, kd
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction

BASE_TEMPERATURE = 2.0
KD_AT_BASE_TEMPERATURE: Callable[..., Tensor] = partial(kd, temperature=BASE_TEMPERATURE)


def logit_standardization(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    loss: Callable[..., Tensor] = KD_AT_BASE_TEMPERATURE,
    eps: float = 1e-7,
    unbiased: bool = False,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    **settings: object,
) -> Tensor:
    """Logit standardisation: `loss` on the z-scores of both sides, `kd` unless another is given.

    loss(z(student_logits), z(teacher_logits)), with z = (logits - mean) / (standard deviation + eps) over the
    classes of each item.

    When: teacher and student differ so much in size that the student cannot reach the teacher's range of
    logits. Weigh it higher than the loss alone; the authors use 9 for `kd`.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient, but none where all
            logits of an item are equal: an all-zero head learns nothing from this loss alone.
        teacher_logits: same shape. Detached inside.
        loss: any loss of logits, function or module, called with `mask`, `reduction` and `settings`.
        eps: added to the standard deviation, > 0, in units of logits; 1e-7 in the authors' code.
        unbiased: divide the squares by classes - 1 as the authors' code does, instead of by classes as the
            paper does.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: handed to `loss`.
        **settings: handed to `loss`: labels, temperature and so on. The temperature is the authors' base
            temperature, 2 if nothing is said.

    Returns:
        What `loss` returns.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if eps is not a positive finite number, or `loss` refuses its settings.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.5]])
        >>> round(logit_standardization(student, teacher).item(), 4)
        0.0929

    Reference: Sun, Ren, Li, Wang, Cao (2024), arXiv:2403.01427.

    Differs: classes at -inf stay at -inf and are not counted among the classes. Logits
        that differ by no more than rounding are taken as equal, where the authors' code has a gradient of 1 / eps.
    """
    student, teacher = _standardized(student_logits, teacher_logits, eps=eps, unbiased=unbiased, mask=mask)
    return loss(student, teacher, mask=mask, reduction=reduction, **settings)


def _standardized(
    student_logits: Tensor, teacher_logits: Tensor, *, eps: float, unbiased: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    check_same_shape(student_logits, teacher_logits, "logits")
    student, teacher = hide_masked(student_logits, mask), hide_masked(teacher_logits.detach(), mask)
    return standardize(student, eps=eps, unbiased=unbiased), standardize(teacher, eps=eps, unbiased=unbiased)


def standardize(logits: Tensor, *, eps: float = 1e-7, unbiased: bool = False) -> Tensor:
    """z-scores of the logits over the last axis; classes at -inf stay there and count for nothing.

    Args:
        logits: shape [*batch, classes]. Receives gradient.
        eps: added to the standard deviation, > 0.
        unbiased: divide the squares by classes - 1 instead of by classes.

    Returns:
        shape [*batch, classes], at least float32: mean 0, standard deviation 1 in each item, or all 0 where the
        logits are equal.

    Example:
        >>> import torch
        >>> standardize(torch.tensor([3.0, 1.0, -torch.inf]))
        tensor([ 1.0000, -1.0000,    -inf])
    """
    check_positive("eps", eps)
    possible, differences, spread = centre_and_spread(logits, unbiased=unbiased)
    return torch.where(possible, differences / (spread + eps), -torch.inf)


def centre_and_spread(logits: Tensor, *, unbiased: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Which classes are possible, the logits less their mean (0 if impossible), and their standard deviation.

    Args:
        logits: shape [*batch, classes]. Receives gradient.
        unbiased: divide the squares by classes - 1 instead of by classes.

    Returns:
        Two of shape [*batch, classes], and one of shape [*batch, 1].
    """
    scores = full_precision(logits)
    possible = ~torch.isneginf(scores)
    differences = centred(scores.masked_fill(~possible, 0.0), possible, dim=-1)
    degrees = (possible.sum(dim=-1, keepdim=True) - int(unbiased)).clamp(min=1).to(scores.dtype)
    return possible, differences, length(differences, dim=-1) / degrees.sqrt()


class LogitStandardization(Loss):
    """`logit_standardization` as a module; see there for shapes, units and sources.

    Learns whatever the wrapped loss learns. `temperature` and `reduction` are for the default loss; a loss of
    your own brings its settings itself.

    Args:
        loss: a loss module of logits, called on the z-scores; None is `KD`.
        temperature: > 0, of the default loss: the authors' base temperature, 2. ConfigError if another is given
            together with `loss`.
        reduction: of the default loss; ConfigError if another than "mean" is given together with `loss`.
    """

    facts = Facts(
        families=("logits",),
        signal="logits",
        paper=Paper(
            title="Logit Standardization in Knowledge Distillation",
            authors="Sun, Ren, Li, Wang, Cao",
            year=2024,
            arxiv="2403.01427",
            venue="CVPR",
        ),
        same_classes=True,
    )

    def __init__(
        self,
        loss: Loss | None = None,
        *,
        temperature: float = BASE_TEMPERATURE,
        eps: float = 1e-7,
        unbiased: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if loss is not None and (temperature != BASE_TEMPERATURE or reduction != "mean"):
            raise ConfigError(
                "LogitStandardization takes temperature and reduction only for its default loss; they would be "
                f"ignored by {type(loss).__name__}. Give them to that loss."
            )
        self.loss = KD(temperature, reduction=reduction) if loss is None else loss
        self.eps = check_positive("eps", eps)
        self.unbiased = unbiased
        self.__dict__["facts"] = replace(
            type(self).facts,
            needs=self.loss.facts.needs,
            learns=self.loss.facts.learns,
            exceptions=self.loss.facts.exceptions,
        )

    @property
    def reduction(self) -> Reduction:
        """The wrapped loss's reduction; setting it sets that."""
        return cast(Reduction, self.loss.reduction)

    @reduction.setter
    def reduction(self, reduction: Reduction) -> None:
        loss: Any = self.loss
        loss.reduction = reduction

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None, **needs: object
    ) -> Tensor:
        student, teacher = _standardized(
            student_logits, teacher_logits, eps=self.eps, unbiased=self.unbiased, mask=mask
        )
        return self.loss(student, teacher, mask=mask, **needs)
