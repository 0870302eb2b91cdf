"""How faithfully a model repeats its teacher, whether either of them is right or not."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.evaluation.tasks import Task

K = 5


class Fidelity:
    """Sums over items; memory does not grow with the data.

    agreement: share of items with the same answer; of independent labels, share of the same decisions.
    kl: mean KL(teacher || model) in nats at temperature 1, over the classes that both have.
    top_k_overlap: share of the teacher's k likeliest classes that are among the model's k likeliest.
    mse: mean squared difference of the scores, for numbers.

    Args:
        task: what the scores are.
        device: of the scores.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task = task
        self.k = K
        self.items = 0
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)

    def add(self, scores: Tensor, teacher_scores: Tensor) -> None:
        """Count items in.

        Args:
            scores: the model's, shape [items, classes].
            teacher_scores: the teacher's; it may have more or fewer classes.
        """
        common = min(scores.shape[-1], teacher_scores.shape[-1])
        self.k = max(1, min(K, common // 2))
        self.items += len(scores)
        if self.task == "regression":
            difference = scores[:, :common].double() - teacher_scores[:, :common].double()
            self._sums[3] += difference.square().mean(dim=-1).sum()
            return
        if self.task == "multilabel":
            ours, theirs = scores[:, :common].double(), teacher_scores[:, :common].double()
            self._sums[0] += ((ours > 0) == (theirs > 0)).double().mean(dim=-1).sum()
            positive, negative = theirs.sigmoid(), (-theirs).sigmoid()
            log = torch.nn.functional.logsigmoid
            kl = positive * (log(theirs) - log(ours)) + negative * (log(-theirs) - log(-ours))
            self._sums[1] += kl.sum()
            return
        self._sums[0] += (scores.argmax(dim=-1) == teacher_scores.argmax(dim=-1)).sum()
        # float32 terms, float64 sums: the error stays below 1e-6 of the value, at half the memory
        log_model = scores[:, :common].log_softmax(dim=-1)
        log_teacher = teacher_scores[:, :common].log_softmax(dim=-1)
        probs = log_teacher.exp()
        terms = torch.where(probs > 0, probs * (log_teacher - log_model), torch.zeros_like(probs))
        self._sums[1] += terms.sum(dim=-1).double().sum()
        ours = scores[:, :common].topk(self.k, dim=-1).indices
        theirs = teacher_scores[:, :common].topk(self.k, dim=-1).indices
        self._sums[2] += (ours[:, :, None] == theirs[:, None, :]).any(dim=-1).double().mean(dim=-1).sum()

    def result(self) -> dict[str, Any]:
        """{"agreement", "kl", "top_k_overlap", "mse", "items", "how"}; what the task does not have is None."""
        agreement, kl, overlap, squared = (
            [float(value) / self.items for value in self._sums] if self.items else [math.nan] * 4
        )
        has_classes = self.task in ("classification", "language")
        return {
            "agreement": None if self.task == "regression" else agreement,
            "kl": None if self.task == "regression" else max(kl, 0.0) if kl == kl else kl,
            "top_k_overlap": {"k": self.k, "value": overlap} if has_classes else None,
            "mse": squared if self.task == "regression" else None,
            "items": self.items,
            "how": "KL(teacher || model) in nats at temperature 1; agreement and overlap are shares of the items, "
            "right or wrong",
        }
