"""What the loaders give: a few batches, and their labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from knowledge_distillation.capture.adapters import LABEL_KEYS, split_batch
from knowledge_distillation.doctor.loaders import CannotTell, batch_size, first_items, peek
from knowledge_distillation.doctor.once import FindsOut, once
from knowledge_distillation.teachers import CachedTeacher, Teacher
from knowledge_distillation.teachers.cache import TaughtBatch

FULL_ITEMS, FULL_BATCHES = 1024, 8


class Samples(FindsOut, ABC):
    """A few batches of the training data and of the first validation loader.

    Args:
        train_loader, val_loaders: as for `distill`.
        teacher: a `CachedTeacher` gives its answers along with the training data.
        quick: look at one batch of each, cut to `quick_items`; else at up to 8, at most 1024 items.
    """

    def __init__(
        self, train_loader: Any, val_loaders: Mapping[str, Any] | None, teacher: Teacher | None, quick: bool
    ) -> None:
        super().__init__()
        self.train_loader, self.teacher, self.quick = train_loader, teacher, quick
        self.val_loaders = dict(val_loaders) if isinstance(val_loaders, Mapping) else {}
        self.given_val_loaders: Any = val_loaders

    @once
    def batches(self) -> list[Any]:
        """Batches of the training data, as training would hand them out, the first cut to its first items."""
        loader = self.train_loader
        with self.blaming("train loader"):
            if isinstance(self.teacher, CachedTeacher):
                loader = self.teacher.loader(loader)
            found = self._few(peek(loader, 1 if self.quick else FULL_BATCHES))
        if not found:
            raise CannotTell("the train loader gave no batch")
        return found

    @once
    def validation(self) -> list[Any]:
        """Batches of the first validation loader."""
        if not self.val_loaders:
            raise CannotTell("there is no validation loader")
        with self.blaming("validation loader"):
            found = self._few(peek(next(iter(self.val_loaders.values())), 1 if self.quick else FULL_BATCHES))
        if not found:
            raise CannotTell("the validation loader gave no batch")
        return found

    def _few(self, batches: list[Any]) -> list[Any]:
        most = self.quick_items(batches[0]) if self.quick and batches else FULL_ITEMS
        kept: list[Any] = []
        for batch in batches:
            kept.append(first_items(batch, most))
            most -= batch_size(batch) or most
            if most <= 0:
                break
        return kept

    @once
    def content(self) -> Any:
        """The first training batch as the models take it."""
        first = self.batches[0]
        return first.content if isinstance(first, TaughtBatch) else first

    @once
    def labels(self) -> Tensor:
        """Labels of the first training batch."""
        labels = self.labels_of(self.content)
        if labels is None:
            raise CannotTell("the batches carry no labels")
        return labels

    def labels_of(self, batch: Any) -> Tensor | None:
        """The labels that a batch carries."""
        content = batch.content if isinstance(batch, TaughtBatch) else batch
        if isinstance(content, Mapping):
            found = next((content[key] for key in LABEL_KEYS if key in content), None)
            return found if isinstance(found, Tensor) else None
        with self.blaming("adapter"):
            _, _, labels = split_batch(content)
        return labels if isinstance(labels, Tensor) else None

    @abstractmethod
    def quick_items(self, batch: Any) -> int:
        """How many items of a batch the quick form looks at."""
