"""The target class apart from the others: its odds, and the others alone."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.inputs import check_labels, hide_masked

UNLABELLED = -100


def check_targets(labels: Tensor | None, student_logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return int64 labels that fit `student_logits`, with class 0 at items that do not count, and which ones count.

    Args:
        labels: class ids, shape [*batch]; -100 marks an unlabelled item, which does not count.
        student_logits: shape [*batch, classes], at least 2 classes.
        mask: shape [*batch], True where the item counts, or None.

    Returns:
        The labels and the mask, shape [*batch] each.

    Raises:
        ConfigError: if labels are missing.
        ShapeError: if labels or mask do not fit, or there is only one class.
    """
    if student_logits.shape[-1] < 2:
        raise ShapeError(
            f"student_logits must have at least 2 classes on the last axis, got {tuple(student_logits.shape)}: "
            "without other classes there is nothing to set apart from the target. For one score an item use a "
            "regression loss."
        )
    targets = hide_masked(check_labels(labels, student_logits), mask)
    counted = targets != UNLABELLED if mask is None else mask.bool() & (targets != UNLABELLED)
    return hide_masked(targets, counted), counted


def without_target(values: Tensor, labels: Tensor) -> Tensor:
    """Take each item's target class out, exactly: shape [*batch, classes] -> [*batch, classes - 1].

    Args:
        values: one value per class, shape [*batch, classes].
        labels: the class to take out, shape [*batch].
    """
    places = torch.arange(values.shape[-1] - 1, device=values.device)
    return values.gather(-1, places + (places >= labels.unsqueeze(-1)))


def of_target(values: Tensor, labels: Tensor) -> Tensor:
    """Pick each item's target class: shape [*batch, classes] -> [*batch]."""
    return values.gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def target_log_odds(log_probs: Tensor, labels: Tensor) -> Tensor:
    """log(p_target / (1 - p_target)) of each item, without the rounding of 1 - p_target.

    Args:
        log_probs: finite log-probabilities, shape [*batch, classes].
        labels: shape [*batch].

    Returns:
        shape [*batch]. `logsigmoid` of it is log p_target, `logsigmoid` of its negative log(1 - p_target).
    """
    return of_target(log_probs, labels) - torch.logsumexp(without_target(log_probs, labels), dim=-1)
