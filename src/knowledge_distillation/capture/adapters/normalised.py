"""A look at probabilities that a model gives: do they sum to 1 over the classes?"""

from __future__ import annotations

import torch

from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import Signals


def check_normalised(signals: Signals, whose: str) -> str | None:
    """Look once at given probabilities: they must be finite and sum to 1 over the last axis.

    Args:
        signals: with `log_probs` of shape [*batch, classes].
        whose: "student" or "teacher", for the message.

    Returns:
        A warning to show, or None. Rows that sum to something else may be meant (independent labels).

    Raises:
        ModelContractError: if there is NaN, or if the softmax was taken over the batch axis.
    """
    if signals.log_probs is None:
        return None
    probs = signals.log_probs.detach().float().exp()
    if bool(torch.isnan(probs).any()):
        raise ModelContractError(
            f"The {whose}'s probabilities hold NaN on the first batch; every loss would be NaN. Look for empty inputs, "
            "log of negative numbers, or overflow in half precision."
        )
    over_classes = probs.sum(dim=-1)
    if bool((over_classes - 1).abs().max() < 0.02):
        return None
    over_batch = probs.sum(dim=0)
    if probs.shape[0] > 1 and bool((over_batch - 1).abs().max() < 0.02):
        raise ModelContractError(
            f"The {whose} normalises its probabilities over the batch (dim=0): each column sums to 1, the rows do not. "
            "The student would learn which sample is most typical of a class, not which class a sample has. "
            "Use softmax(..., dim=-1)."
        )
    return (
        f"The {whose}'s probabilities sum to {over_classes.min():.3g}..{over_classes.max():.3g} over the classes, "
        "not to 1: kd_loss is then no divergence between distributions. Use softmax and log_softmax over the last axis."
    )
