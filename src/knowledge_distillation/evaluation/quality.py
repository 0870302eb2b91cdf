"""How well a model does its task: torchmetrics' measures of each task, summed up batch by batch."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelStatScores,
)
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.evaluation.tasks import Task

MOST_CLASSES = 2048
"""Above so many classes no confusion matrix is kept: it has classes**2 entries."""


class Quality(Protocol):
    """Sums of one model on one loader."""

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Count items in: scores [items, outputs], labels as `tasks.arrange` gives them."""

    def result(self) -> dict[str, Any]:
        """{"metric", "value", "higher_is_better", "how", "also": {metric: value}}; no item gives NaN."""

    def per_class(self) -> list[tuple[int, float]] | None:
        """(items, accuracy) of every class; None where there are none."""

    def confusion(self) -> list[list[int]] | None:
        """[label][prediction] counts; None where there is no such matrix."""


def quality_for(task: Task, outputs: int, device: torch.device) -> Quality:
    """The measures of a task.

    Args:
        task: which.
        outputs: classes, labels or numbers on the last axis.
        device: of the scores.
    """
    if task == "regression":
        return Numbers(outputs, device)
    if task == "multilabel":
        return Labels(outputs, device)
    return Classes(outputs, device, is_text=task == "language")


class Classes:
    """One class an item, or one token of a vocabulary.

    Args:
        classes: of the task; a model with fewer is wrong, with probability 0, wherever it lacks the class.
        device: of the scores.
        is_text: perplexity is the headline.
    """

    def __init__(self, classes: int, device: torch.device, *, is_text: bool) -> None:
        self.classes, self.is_text = classes, is_text
        self._items = 0
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False).to(device)
        # by hand: torchmetrics' own needs classes**2 numbers, too many for a vocabulary
        self._among_five = torch.zeros((), dtype=torch.long, device=device)
        self._by_class = not is_text and classes <= MOST_CLASSES
        if self._by_class:
            self._f1 = MulticlassF1Score(classes, average="macro", validate_args=False).to(device)
            self._confusion = MulticlassConfusionMatrix(classes, validate_args=False).to(device)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        if not len(labels):
            return
        scores = widened(scores, self.classes)
        self._items += len(labels)
        log_probs = scores.log_softmax(dim=-1)
        self._loss -= log_probs.gather(-1, labels[:, None].long()).double().sum()
        predicted = scores.argmax(dim=-1)
        self._accuracy.update(predicted, labels)
        if self.classes > 5:
            self._among_five += (scores.topk(5, dim=-1).indices == labels[:, None]).sum()
        if self._by_class:
            self._f1.update(predicted, labels)
            self._confusion.update(predicted, labels)

    def result(self) -> dict[str, Any]:
        loss = float(self._loss) / self._items if self._items else math.nan
        # from the counts, which are exact: the metric's own division is float32
        accuracy = int(torch.as_tensor(self._accuracy.tp).sum()) / self._items if self._items else math.nan
        also: dict[str, float] = {}
        if self.classes > 5:
            also["top_5_accuracy"] = int(self._among_five) / self._items if self._items else math.nan
        if self._by_class:
            also["macro_f1"] = float(self._f1.compute()) if self._items else math.nan
        also["nll"] = loss
        if self.is_text:
            return {
                "metric": "perplexity",
                "value": math.exp(loss) if loss < 700 else math.inf if loss == loss else math.nan,
                "higher_is_better": False,
                "how": f"exp of the mean negative log-likelihood of {self._items} tokens that count",
                "also": {"token_accuracy": accuracy, **also},
            }
        return {
            "metric": "accuracy",
            "value": accuracy,
            "higher_is_better": True,
            "how": f"share of {self._items} labelled items whose highest score is at the label (torchmetrics)",
            "also": also,
        }

    def per_class(self) -> list[tuple[int, float]] | None:
        if not self._by_class or not self._items:
            return None
        counts = self._confusion.compute()
        totals = counts.sum(dim=1)
        shares = counts.diagonal().double() / totals
        return list(zip(totals.tolist(), shares.tolist(), strict=True))

    def confusion(self) -> list[list[int]] | None:
        if not self._by_class or not self._items:
            return None
        counts: list[list[int]] = self._confusion.compute().tolist()
        return counts


class Labels:
    """Independent yes-or-no labels; a logit above 0 says yes."""

    def __init__(self, labels: int, device: torch.device) -> None:
        self.count = labels
        self._items = 0
        settings: dict[str, Any] = {"num_labels": labels, "ignore_index": IGNORED, "validate_args": False}
        self._micro = MultilabelF1Score(average="micro", **settings).to(device)
        self._macro = MultilabelF1Score(average="macro", **settings).to(device)
        self._exact = MultilabelExactMatch(**settings).to(device)
        self._counts = MultilabelStatScores(average=None, **settings).to(device)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        if not len(labels):
            return
        self._items += len(labels)
        decided, told = (scores > 0).int(), labels.round().int()
        for metric in (self._micro, self._macro, self._exact, self._counts):
            metric.update(decided, told)

    def result(self) -> dict[str, Any]:
        some = self._items > 0
        shares = self._shares()
        return {
            "metric": "micro_f1",
            "value": float(self._micro.compute()) if some else math.nan,
            "higher_is_better": True,
            "how": f"F1 over all decisions on {self._items} items with {self.count} labels, yes where the logit is "
            "above 0 (torchmetrics)",
            "also": {
                "macro_f1": float(self._macro.compute()) if some else math.nan,
                "exact_match": float(self._exact.compute()) if some else math.nan,
                "label_accuracy": sum(share for _, share in shares) / len(shares) if some else math.nan,
            },
        }

    def per_class(self) -> list[tuple[int, float]] | None:
        return self._shares() if self._items else None

    def confusion(self) -> list[list[int]] | None:
        return None

    def _shares(self) -> list[tuple[int, float]]:
        if not self._items:
            return []
        counts = self._counts.compute().reshape(-1, 5)  # true positive, false positive, true negative, false negative
        right = (counts[:, 0] + counts[:, 2]).double() / counts[:, :4].sum(dim=1)
        return list(zip(counts[:, 4].tolist(), right.tolist(), strict=True))


class Numbers:
    """Real-valued targets."""

    def __init__(self, numbers: int, device: torch.device) -> None:
        self._items = 0
        self._squared = MeanSquaredError().set_dtype(torch.float64).to(device)
        self._absolute = MeanAbsoluteError().set_dtype(torch.float64).to(device)
        self._explained = R2Score().set_dtype(torch.float64).to(device)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        if not len(labels):
            return
        self._items += len(labels)
        scores, labels = scores.double(), labels.double()
        self._squared.update(scores.flatten(), labels.flatten())
        self._absolute.update(scores.flatten(), labels.flatten())
        self._explained.update(*((scores[:, 0], labels[:, 0]) if scores.shape[1] == 1 else (scores, labels)))

    def result(self) -> dict[str, Any]:
        squared = float(self._squared.compute()) if self._items else math.nan
        return {
            "metric": "mse",
            "value": squared,
            "higher_is_better": False,
            "how": f"mean squared difference from the targets of {self._items} items, in squared units of the target "
            "(torchmetrics)",
            "also": {
                "rmse": math.sqrt(squared),
                "mae": float(self._absolute.compute()) if self._items else math.nan,
                # one item has no variance to explain
                "r2": float(self._explained.compute()) if self._items > 1 else math.nan,
            },
        }

    def per_class(self) -> list[tuple[int, float]] | None:
        return None

    def confusion(self) -> list[list[int]] | None:
        return None


def widened(scores: Tensor, classes: int) -> Tensor:
    """Scores [items, classes] of a model that has fewer: a class that it lacks gets probability 0."""
    missing = classes - scores.shape[-1]
    return torch.nn.functional.pad(scores, (0, missing), value=-math.inf) if missing > 0 else scores
