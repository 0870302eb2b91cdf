"""Items that got worse: right before, wrong now, the surest mistakes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.evaluation.samples import Sample
from knowledge_distillation.evaluation.tasks import Task

Look = Callable[[int, int], Sample | None]


@dataclass(frozen=True, slots=True)
class WorseItem:
    """One item.

    Attributes:
        index: the sample's place in the loader's order, from 0.
        position: the item's place within the sample (token, pixel); 0 where a sample is one item.
        label, teacher, student: class ids, lists of 0 and 1, or numbers; "teacher" is whom the student is held against.
        confidence: of the student in its answer, 0 to 1; None where there is no such thing.
        rank: what they are ordered by.
        sample: what it looks like.
    """

    index: int
    position: int
    label: Any
    teacher: Any
    student: Any
    confidence: float | None
    rank: float
    sample: Sample | None


class Worse:
    """Keeps the few worst items of a walk, with copies of their samples, and counts who was right.

    Args:
        task: what the scores are.
        most: how many items to keep, >= 0.
    """

    def __init__(self, task: Task, most: int) -> None:
        self.task, self.most = task, most
        self.items: list[WorseItem] = []
        self._counts = [0, 0, 0, 0]

    def add(
        self,
        *,
        labels: Tensor,
        before: Tensor,
        after: Tensor,
        values: tuple[Tensor, Tensor],
        sample: Tensor,
        position: Tensor,
        start: int,
        look: Look,
    ) -> None:
        """Count items in.

        Args:
            labels: shape [items], or [items, outputs].
            before: scores of whom the student is held against, shape [items, outputs].
            after: the student's scores.
            values: how well both answered each item, as `item_values` gives it.
            sample: which sample of the batch each item belongs to, shape [items].
            position: its place there, shape [items].
            start: index of the batch's first sample.
            look: place in the batch, position in the sample -> what the item looks like.
        """
        earlier, later = values
        confidence: Tensor | None = None
        if self.task == "regression":
            worse, rank = later > earlier, later - earlier
        else:
            was_right, is_right = earlier == 1, later == 1
            for place, both in enumerate(
                (was_right & is_right, was_right & ~is_right, ~was_right & is_right, ~was_right & ~is_right)
            ):
                self._counts[place] += int(both.sum())
            worse = was_right & ~is_right
            if self.task == "multilabel":
                rank = earlier - later
            else:
                confidence = rank = after.softmax(dim=-1).max(dim=-1).values
        # NaN must not win: such answers are named in the notes
        order = torch.where(worse, rank, -torch.inf).nan_to_num(-torch.inf).argsort(descending=True, stable=True)
        for row in order[: self.most].tolist():
            if not bool(worse[row]) or not self._has_room(float(rank[row])):
                break
            self.items.append(
                WorseItem(
                    index=start + int(sample[row]),
                    position=int(position[row]),
                    label=_shown(self.task, labels[row]),
                    teacher=self._answer(before[row]),
                    student=self._answer(after[row]),
                    confidence=None if confidence is None else float(confidence[row]),
                    rank=float(rank[row]),
                    sample=look(int(sample[row]), int(position[row])),
                )
            )
            self.items.sort(key=lambda item: (-item.rank, item.index, item.position))
            del self.items[self.most :]

    def counts(self) -> dict[str, int] | None:
        """How many items each of the two had right; None for numbers, which are never simply right."""
        if self.task == "regression":
            return None
        names = ("both_right", "only_teacher_right", "only_student_right", "both_wrong")
        return dict(zip(names, self._counts, strict=True))

    def _has_room(self, rank: float) -> bool:
        return len(self.items) < self.most or (bool(self.items) and rank > self.items[-1].rank)

    def _answer(self, scores: Tensor) -> Any:
        if self.task == "regression":
            return _shown(self.task, scores)
        if self.task == "multilabel":
            return (scores > 0).int().tolist()
        return int(scores.argmax())


def _shown(task: Task, label: Tensor) -> Any:
    if task == "regression":
        numbers = label.double().flatten().tolist()
        return numbers[0] if len(numbers) == 1 else numbers
    return label.int().tolist()
