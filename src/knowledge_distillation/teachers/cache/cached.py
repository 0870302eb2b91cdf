"""A teacher that was asked before: its answers are read from a cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from knowledge_distillation.errors import CacheError, ConfigError, nearest
from knowledge_distillation.losses import SampledCrossEntropy, TopK
from knowledge_distillation.objective.term import SignalName
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers.cache.encodings import SPARSE
from knowledge_distillation.teachers.cache.encodings.sampled import SampledClasses
from knowledge_distillation.teachers.cache.reading import Cache
from knowledge_distillation.teachers.cache.sampling import check_loader, loader_like
from knowledge_distillation.teachers.cache.taught import Answers, ReplayedViews, TaughtBatch, WithAnswers
from knowledge_distillation.teachers.teacher import Teacher, as_teacher


class CachedTeacher:
    """Teach from a cache that `write_cache` made: no teacher model is run.

    `distill` replaces the training loader by `loader(...)`, which replays the very views that the teacher saw and
    brings its answers along. With your own `lightning.Trainer`, pass it that loader.

    Args:
        directory: of the cache.
        teacher: whose answers they must be: a module, a `Teacher`, or a fingerprint. None takes the cache at its word.
        verify: read every shard once and compare its checksums, at 1 to 3 GB a second. False looks at lengths only.
        check_inputs: compare every sample with the checksum of what the teacher saw. False for data that another
            machine or library version gives with other rounding.

    Raises:
        CacheError: if the cache is unfinished, damaged, or another teacher's.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        teacher: Teacher | nn.Module | str | None = None,
        verify: bool = True,
        check_inputs: bool = True,
    ) -> None:
        self.cache = Cache(directory)
        self.check_inputs = check_inputs
        if teacher is not None:
            settings = {"temperature": self.cache.manifest["temperature"]}
            asked = teacher if isinstance(teacher, str) else as_teacher(teacher, **settings).fingerprint
            if asked != self.cache.manifest["teacher"]:
                raise CacheError(
                    f"The cache {directory} holds the answers of another teacher: fingerprint "
                    f"{self.cache.manifest['teacher'][:12]}, and this one's is {asked[:12]}. Its weights, class or "
                    "temperature differ. Write a cache of this teacher to another directory."
                )
        if verify:
            self.cache.verify()

    @property
    def fingerprint(self) -> str:
        """The cache's, which covers every byte of it."""
        return self.cache.fingerprint

    def roles(self, wanted: Iterable[str]) -> dict[str, SignalName]:
        """Role such as "@last" -> the signals of the cache that play it.

        Raises:
            ConfigError: if the cache was written without one of them.
        """
        layers = self.cache.manifest["layers"]
        for role in wanted:
            if role not in layers:
                raise ConfigError(
                    f"The cache {self.cache.directory} does not hold what plays {role!r} in the teacher. "
                    f"{nearest(role, layers)} Write it with this role among its signals."
                )
        return {role: layers[role][0] if len(layers[role]) == 1 else tuple(layers[role]) for role in wanted}

    def loader(self, loader: Any) -> DataLoader[Any]:
        """The loader to train from: the same samples in the same order, as views that the teacher saw.

        Args:
            loader: a DataLoader over the dataset that the cache was written from.

        Raises:
            ConfigError: if it is no plain DataLoader over numbered samples.
            CacheError: if its dataset has another length, or other samples.
        """
        given = check_loader(loader)
        if isinstance(given.dataset, ReplayedViews):
            return given
        if len(given.dataset) != self.cache.samples:  # type: ignore[arg-type]
            raise CacheError(
                f"The cache {self.cache.directory} was written for {self.cache.samples} samples and the dataset has "
                f"{len(given.dataset)}: "  # type: ignore[arg-type]
                "sample numbers would point at other samples. Write a cache of this dataset."
            )
        replayed = ReplayedViews(given.dataset, self.cache)
        answered = WithAnswers(given.collate_fn, self.cache, self.check_inputs)
        ends = replayed.at([0, self.cache.samples * self.cache.views - 1])
        if self.check_inputs:
            answered.compare(ends)  # says here what a worker would say later
        return loader_like(given, replayed, answered)

    def prepare(self, device: torch.device) -> None:
        """Nothing: the answers come with the batch, to its device."""

    def signals(self, batch: Any, wanted: Sequence[str] = ("logits",)) -> Signals:
        """What the teacher said about these views.

        Args:
            batch: a `TaughtBatch`, from `loader`.
            wanted: names of signals that the cache holds.

        Raises:
            ConfigError: if the batch does not come from `loader`, or a wanted signal was not kept.
        """
        if not isinstance(batch, TaughtBatch):
            raise ConfigError(
                "A CachedTeacher knows samples, not inputs, and this batch does not say which samples it holds. Train "
                "from CachedTeacher.loader(your_loader); `distill` does so itself. It cannot answer validation data."
            )
        unknown = [name for name in wanted if name not in self.cache.signals]
        if unknown:
            raise ConfigError(
                f"The cache {self.cache.directory} does not hold the teacher's {unknown[0]!r}. "
                f"{nearest(unknown[0], self.cache.signals)} Write it with this signal."
            )
        decoded = {name: self._decoded(name, batch.answers) for name in wanted}
        return Signals(logits=decoded.pop("logits", None), log_probs=decoded.pop("log_probs", None), features=decoded)

    def check_fits(self, student: Signals, objective: nn.Module) -> None:
        """Look once whether these answers can teach this student.

        Args:
            student: its signals on a batch.
            objective: whose losses are among its modules.

        Raises:
            ConfigError: if the cache names classes that the student does not have, or a loss reads draws at another
                temperature than they were made at.
        """
        for name, encoding in self.cache.encodings.items():
            known = self.cache.signals[name]["shape"][-1]
            classes = known if student.logits is None else student.logits.shape[-1]
            if encoding.name in SPARSE and known > classes:
                raise ConfigError(
                    f"The cache {self.cache.directory} names classes up to {known - 1} in {name!r}, and the student "
                    f"has {classes}: ids would point beyond its classes. Give the student the teacher's classes."
                )
        drawn = [encoding for encoding in self.cache.encodings.values() if isinstance(encoding, SampledClasses)]
        made = {encoding.temperature for encoding in drawn}
        for loss in objective.modules():
            if made and isinstance(loss, SampledCrossEntropy) and loss.temperature not in made:
                raise ConfigError(
                    f"The cache {self.cache.directory} holds draws at temperature {', '.join(map(str, made))}, and a "
                    f"loss reads them at {loss.temperature}: they come from another distribution. Give the encoding "
                    "the loss's temperature, or the loss the encoding's."
                )

    def release(self) -> None:
        """Nothing was changed."""

    def _decoded(self, name: str, answers: Answers) -> Any:
        facts = self.cache.signals[name]
        try:
            value = self.cache.encodings[name].decode(answers.arrays[name], facts["shape"][-1])
        except (KeyError, IndexError, RuntimeError) as error:
            raise CacheError(
                f"What the cache {self.cache.directory} holds of {name!r} is not written as its manifest says "
                f"({type(error).__name__}: {error}). Write the cache anew."
            ) from error
        if not facts["per_token"] or answers.places is None or answers.grid is None:
            return value
        if isinstance(value, TopK):
            return TopK(
                indices=_on_grid(value.indices, answers),
                log_probs=_on_grid(value.log_probs, answers),
                log_tail=None if value.log_tail is None else _on_grid(value.log_tail, answers),
                temperature=value.temperature,
            )
        return _on_grid(value, answers)


def _on_grid(rows: Tensor, answers: Answers) -> Tensor:
    """Rows of tokens at their places among the padding, which is 0: [tokens, ...] -> [samples, length, ...]."""
    if answers.places is None or answers.grid is None:
        raise AssertionError("rows without places have no grid")
    samples, length = answers.grid
    grid = rows.new_zeros((samples * length, *rows.shape[1:]))
    return grid.index_copy_(0, answers.places, rows).view(samples, length, *rows.shape[1:])
