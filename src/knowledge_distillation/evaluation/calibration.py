"""Does confidence mean what it says? Calibration error, the reliability curve, and a temperature that mends it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

BINS = 15
KEPT = 2**24
"""Scores kept for fitting a temperature: 64 MiB in float32, whatever the data."""
LOWEST, HIGHEST = 0.05, 20.0


class Reliability:
    """Confidence and accuracy in equal bins of confidence, [low, high), the last one with 1."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, BINS, dtype=torch.float64, device=device)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Count items in: scores [items, classes], class ids [items]."""
        confidence, predicted = scores.softmax(dim=-1).max(dim=-1)
        inner = torch.linspace(0, 1, BINS + 1, dtype=confidence.dtype, device=confidence.device)[1:-1]
        place = torch.bucketize(confidence, inner, right=True)
        right = (predicted == labels).double()
        rows = torch.stack([torch.ones_like(right), confidence.double(), right])
        # a product, since scattered additions have no fixed order on a GPU
        self._sums += rows @ torch.nn.functional.one_hot(place, BINS).double()

    def error(self) -> float:
        """Expected calibration error, 0 to 1: mean of |accuracy - confidence| over bins, weighted by their items."""
        count, confidence, right = self._sums
        return float((confidence - right).abs().sum() / count.sum())

    def bins(self) -> list[dict[str, Any]]:
        """The reliability curve; an empty bin has None for its means."""
        found = []
        for place, (count, confidence, right) in enumerate(self._sums.T.tolist()):
            found.append(
                {
                    "low": place / BINS,
                    "high": (place + 1) / BINS,
                    "confidence": confidence / count if count else None,
                    "accuracy": right / count if count else None,
                    "count": int(count),
                }
            )
        return found


class Calibration:
    """Calibration of one model on one loader, in bounded memory.

    For the temperature, items are kept evenly over the whole loader: when there is no room, every second one goes.

    Reference: Guo, Pleiss, Sun, Weinberger (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599, with 15
        bins as there.

    Differs: the paper fits the temperature on validation data and measures on test data. Here one loader serves both by
        cross-fitting, so that no item is measured at a temperature that it helped to find.

    Args:
        device: of the scores.
        kept: how many scores may be held.
    """

    def __init__(self, device: torch.device, kept: int = KEPT) -> None:
        self.kept = kept
        self.items = 0
        self._reliability = Reliability(device)
        self._stride = 1
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Count items in: scores [items, classes], class ids [items]."""
        if not len(labels):
            return
        self._reliability.add(scores, labels)
        first = min(-self.items % self._stride, len(labels))  # of a batch smaller than the stride perhaps none
        chosen = torch.arange(first, len(labels), self._stride, device=labels.device)
        self.items += len(labels)
        self._scores.append(scores[chosen])
        self._labels.append(labels[chosen])
        while sum(map(torch.numel, self._scores)) > self.kept and sum(map(len, self._labels)) > 2:
            self._stride *= 2
            self._scores = [torch.cat(self._scores)[::2].clone()]
            self._labels = [torch.cat(self._labels)[::2].clone()]

    def result(self) -> dict[str, Any] | None:
        """{"ece", "temperature", "ece_after", "bins", "items", "how"}; None without items.

        "temperature" is fitted on all kept items; "ece_after" is measured on each half at the other half's temperature.
        """
        if not self.items:
            return None
        scores, labels = torch.cat(self._scores), torch.cat(self._labels)
        temperature = after = math.nan
        if len(labels) >= 2:
            temperature = fitted_temperature(scores, labels)
            mended = Reliability(scores.device)
            for half in (0, 1):
                other = fitted_temperature(scores[1 - half :: 2], labels[1 - half :: 2])
                mended.add(scores[half::2] / other, labels[half::2])
            after = mended.error()
        limits = [limit for limit in (LOWEST, HIGHEST) if abs(temperature / limit - 1) < 0.01]
        at_limit = f"; the temperature stands at its limit {limits[0]:g}, so a better one lies beyond" if limits else ""
        return {
            "ece": self._reliability.error(),
            "temperature": temperature,
            "ece_after": after,
            "bins": self._reliability.bins(),
            "items": self.items,
            "how": f"{BINS} equal bins of confidence over {self.items} items; temperature by least negative "
            f"log-likelihood on {len(labels)} of them; the error after it is cross-fitted: each half (every second "
            f"item) at the temperature of the other{at_limit}",
        }


def fitted_temperature(scores: Tensor, labels: Tensor) -> float:
    """The temperature from 0.05 to 20 with the least negative log-likelihood.

    Args:
        scores: logits, shape [items, classes]; an item whose label has no probability at any temperature is left out.
        labels: class ids, shape [items].
    """
    own = scores.gather(-1, labels[:, None].long())[:, 0]
    possible = own.isfinite()
    if not bool(possible.any()) or bool(torch.isnan(scores).any()):
        return math.nan
    scores, labels = scores[possible], labels[possible]

    def loss(log_temperature: float) -> float:
        scaled = (scores / math.exp(log_temperature)).log_softmax(dim=-1)
        return -float(scaled.gather(-1, labels[:, None].long()).double().mean())

    return math.exp(_lowest(loss, math.log(LOWEST), math.log(HIGHEST)))


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest, to 1e-4, by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > 1e-4:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2
