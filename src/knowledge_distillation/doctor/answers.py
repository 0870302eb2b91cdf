"""What a classifier answered to labelled items, whatever form its logits have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.losses import TopK
from knowledge_distillation.signals import Signals

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Answers:
    """Labelled items and a model's answers to them, on the CPU.

    Attributes:
        predicted: likeliest class, int64, shape [items].
        labels: int64, shape [items].
        confidence: probability of the likeliest class at temperature 1, shape [items].
        classes: how many the model knows.
    """

    predicted: Tensor
    labels: Tensor
    confidence: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> Tensor:
        """Which answers are the label, bool, shape [items]."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """From 0 to 1."""
        return float(self.right.float().mean())

    @property
    def majority(self) -> float:
        """The share of the commonest label: what guessing it would reach."""
        return float(torch.bincount(self.labels).max()) / len(self)

    def error(self, share: float | None = None) -> float:
        """Standard error of an accuracy on so many items; of this one where none is given."""
        value = self.accuracy if share is None else share
        return float((max(value * (1 - value), 1 / len(self)) / len(self)) ** 0.5)


def classified(signals: Signals, labels: Tensor | None = None, mask: Tensor | None = None) -> Answers:
    """The answers in one batch's signals.

    Args:
        signals: with logits [*batch, classes], or [batch, classes, ...] for labels [batch, ...], or a `TopK`.
        labels: class ids; None takes those of the signals.
        mask: which items count; None takes that of the signals.

    Raises:
        CannotTell: if there are no logits or no labels, or the labels are no class ids of the items.
    """
    labels = signals.labels if labels is None else labels
    mask = signals.mask if mask is None else mask
    if signals.logits is None:
        raise CannotTell("the model gives no logits")
    if not isinstance(labels, Tensor):
        raise CannotTell("the batches carry no labels")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise CannotTell("the labels are values, not class ids")
    if isinstance(signals.logits, TopK):
        logits, ids = signals.logits.log_probs, signals.logits.indices
        classes = int(ids.max()) + 1
    else:
        logits, ids = class_axis_last(signals.logits, labels), None
        classes = logits.shape[-1]
    if labels.shape != logits.shape[:-1]:
        raise CannotTell(f"labels {tuple(labels.shape)} do not name one class of each item {tuple(logits.shape[:-1])}")
    counts = labels != IGNORED
    if mask is not None and mask.shape == labels.shape:
        counts = counts & mask.bool().to(counts.device)
    best = logits.detach().float().max(dim=-1)
    spread = logits.detach().float().exp().sum(dim=-1).log() if ids is None else None
    if spread is not None and not bool(torch.isfinite(spread).all()):
        spread = logits.detach().float().logsumexp(dim=-1)
    confidence = best.values.exp() if spread is None else (best.values - spread).exp()
    predicted = best.indices if ids is None else ids.long().gather(-1, best.indices.unsqueeze(-1)).squeeze(-1)
    counts = counts.to(predicted.device)
    return Answers(
        predicted=predicted[counts].cpu(),
        labels=labels.to(predicted.device)[counts].long().cpu(),
        confidence=confidence[counts].cpu(),
        classes=classes,
    )


def class_axis_last(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits with the classes on the last axis; those of segmentation have them on the second."""
    second = logits.dim() > 2 and labels.shape == (logits.shape[0], *logits.shape[2:])
    return logits.movedim(1, -1) if second and labels.shape != logits.shape[:-1] else logits


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers to several batches as one.

    Raises:
        CannotTell: if no item is labelled.
    """
    if not sum(map(len, parts)):
        raise CannotTell("no item that was looked at has a label")
    return Answers(
        predicted=torch.cat([part.predicted for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
        confidence=torch.cat([part.confidence for part in parts]),
        classes=max(part.classes for part in parts),
    )
