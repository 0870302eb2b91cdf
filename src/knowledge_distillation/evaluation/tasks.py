"""What the answers are answers to: classes, independent labels, numbers or the next token; found out from one batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.errors import ModelContractError

Task = Literal["classification", "multilabel", "regression", "language"]
TASKS = ("classification", "multilabel", "regression", "language")
SMALLEST_VOCABULARY = 256
"""Scores for every token over so many classes are taken for those of a language model; 256 is that of bytes."""


def find_task(scores: Tensor, labels: Tensor | None, *, classes: bool = True) -> tuple[Task, str | None]:
    """The task that one batch shows, and a remark where it had to be guessed.

    Args:
        scores: logits, shape [samples, ...].
        labels: as the loader gives them, or None.
        classes: False where scores are known not to be of classes; without labels they are numbers then.

    Raises:
        ModelContractError: if the labels' shape fits no task with these scores.
    """
    if labels is None:
        numbers = not classes or scores.dim() == 1 or scores.shape[-1] == 1
        return ("regression" if numbers else "language" if _is_text(scores) else "classification"), None
    whole = not labels.is_floating_point()
    if whole and scores.dim() > 1 and scores.shape[-1] > 1 and _has_class_axis(scores, labels):
        return ("language" if _is_text(scores) else "classification"), None
    if labels.numel() != scores.numel():
        raise ModelContractError(
            f"Labels {tuple(labels.shape)} {labels.dtype} fit no task with logits {tuple(scores.shape)}: class ids "
            "have the logits' shape without the class axis, other targets have as many entries as the logits. Give the "
            "loader fitting labels, or pass a pipeline that scores them."
        )
    told = labels[labels != IGNORED]
    if bool(((told == 0) | (told == 1)).all()):
        return "multilabel", "The labels are 0 and 1 for every output, so outputs count as independent labels."
    rows = labels.float().flatten(0, -2) if labels.dim() > 1 else labels.float()[:, None]
    if rows.shape[-1] > 1 and bool((rows >= 0).all()) and bool(((rows.sum(dim=-1) - 1).abs() < 1e-3).all()):
        return (
            "classification",
            "The labels are probabilities over the classes; the likeliest counts as the label.",
        )
    return "regression", None


def arrange(task: Task, scores: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Scores with the classes last and labels beside them.

    Args:
        task: what they are.
        scores: logits, shape [samples, ...].
        labels: as the loader gives them, or None.

    Returns:
        Scores of shape [*items, outputs], and labels of shape [*items], or [*items, outputs] for "multilabel" and
        "regression".

    Raises:
        ModelContractError: if the labels do not fit.
    """
    if task in ("multilabel", "regression"):
        if scores.dim() == 1:
            scores = scores[:, None]
        if labels is None:
            return scores, None
        if labels.numel() != scores.numel():
            raise _misfit(task, scores, labels)
        return scores, labels.reshape(scores.shape)
    if labels is None:
        return (scores.movedim(1, -1) if scores.dim() == 4 else scores), None
    if labels.shape == scores.shape[:-1]:
        return scores, labels
    if labels.shape == scores.shape:
        return scores, labels.argmax(dim=-1)
    if labels.shape == scores.shape[:1] + scores.shape[2:]:
        return scores.movedim(1, -1), labels
    if labels.numel() == scores.shape[:-1].numel():
        return scores, labels.reshape(scores.shape[:-1])
    raise _misfit(task, scores, labels)


def counted_items(task: Task, items: torch.Size, labels: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Which items count, shape [*items]; None for all.

    Args:
        task: what the labels are.
        items: the shape of the items.
        labels: as `arrange` gives them; -100 counts nowhere, nor does a NaN among the numbers of a regression.
        mask: shape [*items], True where an item counts.
    """
    counted = mask.bool() if mask is not None and mask.shape == items else None
    if labels is None:
        return counted
    if task == "regression":
        known = ~torch.isnan(labels).any(dim=-1) if labels.is_floating_point() else None
    elif task == "multilabel":
        known = (labels != IGNORED).any(dim=-1)
    else:
        known = labels != IGNORED
    if known is None or counted is None:
        return counted if known is None else known
    return counted & known.to(counted.device)


def item_values(task: Task, scores: Tensor, labels: Tensor) -> Tensor:
    """How well each item is answered, shape [items]: the mean absolute error of a regression, else the share right.

    Args:
        task: what the scores are.
        scores: shape [items, outputs].
        labels: shape [items], or [items, outputs].
    """
    if task == "regression":
        return (scores.double() - labels.double()).abs().mean(dim=-1)
    if task == "multilabel":
        known = labels != IGNORED
        right = ((scores > 0) == (labels > 0.5)) & known
        return right.sum(dim=-1).double() / known.sum(dim=-1).clamp(min=1)
    return (scores.argmax(dim=-1) == labels).double()


def _is_text(scores: Tensor) -> bool:
    return scores.dim() == 3 and scores.shape[-1] >= SMALLEST_VOCABULARY


def _has_class_axis(scores: Tensor, labels: Tensor) -> bool:
    items = (scores.shape[:-1], scores.shape[:1] + scores.shape[2:])
    return labels.shape in items or (labels.numel() == scores.shape[0] and scores.dim() == 2)


def _misfit(task: Task, scores: Tensor, labels: Tensor) -> ModelContractError:
    return ModelContractError(
        f"For {task} the labels must fit logits {tuple(scores.shape)}, and they are {tuple(labels.shape)}: items and "
        "answers would be paired wrongly. Check the collate function, name another task, or pass a pipeline."
    )
