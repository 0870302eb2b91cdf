"""The walk over one loader: every figure that needs the models' answers, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.evaluation.calibration import Calibration
from knowledge_distillation.evaluation.fidelity import Fidelity
from knowledge_distillation.evaluation.outputs import Rows, label_tensor, rows_of, scores_of
from knowledge_distillation.evaluation.quality import Quality, quality_for, widened
from knowledge_distillation.evaluation.samples import Sample, Show, batch_size_of, look_at
from knowledge_distillation.evaluation.slices import Slicer, Slices
from knowledge_distillation.evaluation.subjects import Subject
from knowledge_distillation.evaluation.tasks import Task, arrange, find_task, item_values
from knowledge_distillation.evaluation.worse import Look, Worse
from knowledge_distillation.losses import TopK
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers.cache import TaughtBatch

WITH_CLASSES = ("classification", "language")


class Walk:
    """Sums over one loader. Every model answers the same batch, so a shuffled loader pairs no item wrongly.

    Args:
        subjects: who is asked, at rest.
        task: what the answers are; None finds out from the first batch.
        notes: gets what had to be guessed.
        tolerant: go on without a model whose outputs cannot be scored, as is right where a pipeline scores it.
        classes: as of `find_task`.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        task: Task | None,
        notes: list[str],
        *,
        tolerant: bool = False,
        classes: bool = True,
    ) -> None:
        self.subjects, self.notes, self.tolerant = list(subjects), notes, tolerant
        self._has_classes = classes
        self.task: Task | None = task
        self.samples = self.items = self.labelled = 0
        self.qualities: dict[str, Quality] = {}
        self.calibrations: dict[str, Calibration] = {}
        self.fidelities: dict[str, Fidelity] = {}
        self.not_numbers: dict[str, int] = {}
        self.slices: Slices | None = None
        self.worse: Worse | None = None
        self._classes: int | None = None
        device = next((subject.device for subject in subjects), torch.device("cpu"))
        self._device = device if device.type != "mps" else torch.device("cpu")  # which has no float64
        self._full = False
        self._teacher: str | None = None
        self._pair: tuple[str, str] | None = None
        self._show: Show | None = None

    def in_full(
        self,
        *,
        teacher: str | None,
        pair: tuple[str, str] | None,
        slicers: Mapping[str, Slicer],
        most_worse: int,
        show: Show | None,
    ) -> Walk:
        """Also sum up calibration, fidelity to the teacher, and where the second of a pair lost against the first."""
        self._full, self._teacher, self._pair, self._show = True, teacher, pair, show
        self.slices = Slices(slicers)
        self._most_worse = most_worse
        return self

    def go(self, batches: Iterable[Any]) -> Walk:
        """Walk through the batches."""
        for batch in batches:
            answers = {subject.name: said for subject in tuple(self.subjects) if (said := self._ask(subject, batch))}
            if not answers:
                self.samples += batch_size_of(_content(batch))
                continue
            if self._classes is None and not self._begin(answers):
                self.samples += batch_size_of(_content(batch))
                continue
            self._add(batch, answers)
        return self

    def _ask(self, subject: Subject, batch: Any) -> Signals | None:
        try:
            return subject.answer(batch)
        except ModelContractError as error:
            if not self.tolerant:
                raise
            self.notes.append(f"{subject.name}: scored by the pipeline only. {error}")
            self.subjects.remove(subject)
            return None

    def _begin(self, answers: Mapping[str, Signals]) -> bool:
        """Find the task; False where labels fit none and are the pipeline's alone."""
        labels = label_tensor(list(answers.values()))
        first = next((said for said in answers.values() if not isinstance(said.logits, TopK)), None)
        first = first if first is not None else next(iter(answers.values()))
        if self.task is None:
            try:
                self.task, remark = find_task(scores_of(first, None), labels, classes=self._has_classes)
            except ModelContractError as error:
                if not self.tolerant:
                    raise
                self.notes.append(f"All models are scored by the pipeline only. {error}")
                self.subjects.clear()
                return False
            if remark:
                self.notes.append(f"{remark} Pass task=... if that is wrong.")
        counts = {}
        for name, said in answers.items():
            if isinstance(said.logits, TopK):
                self.notes.append(
                    f"{name}: knows its likeliest classes only; the rest of its probability is spread evenly over the "
                    "others, so its KL and likelihoods are approximate."
                )
                continue
            scores, _ = arrange(self.task, scores_of(said, self.task), labels if said.labels is None else said.labels)
            counts[name] = scores.shape[-1]
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            self.notes.append(
                f"The models have different numbers of outputs ({listed}); KL and overlap are over the first that they "
                "have in common, renormalised, and mean nothing if the order differs."
            )
        self._classes = max(counts.values(), default=1)
        if self._full and self._pair is not None:
            self.worse = Worse(self.task, self._most_worse)
        return True

    def _add(self, batch: Any, answers: Mapping[str, Signals]) -> None:
        if self.task is None:
            raise AssertionError("the task is known after the first batch")
        content = _content(batch)
        labels = label_tensor(list(answers.values()))
        first = next(iter(answers.values()))
        size = labels.shape[0] if labels is not None and labels.dim() else _length(first, content)
        members = self.slices.members(content, size) if self.slices is not None else {}
        looked: dict[tuple[int, int], Sample | None] = {}

        def look(place: int, position: int) -> Sample | None:
            if (place, position) not in looked:
                looked[place, position] = look_at(content, place, position, self._show)
            return looked[place, position]

        first_name = next(iter(answers))
        reference = self._pair[1] if self._pair is not None and self._pair[1] in answers else first_name
        for rows in rows_of(self.task, answers, device=self._device, classes=self._classes):
            if reference in rows.scores:
                self.items += len(rows.sample)
                self.labelled += 0 if rows.labels is None else len(rows.sample)
            self._count(rows, members, look)
        self.samples += size

    def _count(self, rows: Rows, members: Mapping[str, Tensor], look: Look) -> None:
        task, classes = self.task, self._classes
        if task is None or classes is None:
            raise AssertionError("the task is known after the first batch")
        values: dict[str, Tensor] = {}
        for name, scores in rows.scores.items():
            bad = int(torch.isnan(scores).any(dim=-1).sum())
            self.not_numbers[name] = self.not_numbers.get(name, 0) + bad
            if rows.labels is None:
                continue
            if name not in self.qualities:
                outputs = classes if task in WITH_CLASSES else scores.shape[-1]
                self.qualities[name] = quality_for(task, outputs, self._device)
            self.qualities[name].add(scores, rows.labels)
            if not self._full:
                continue
            values[name] = item_values(task, scores, rows.labels)
            if task in WITH_CLASSES:
                calibration = self.calibrations.setdefault(name, Calibration(self._device))
                calibration.add(widened(scores, classes), rows.labels)
        if not self._full:
            return
        if self.slices is not None:
            self.slices.add(members, rows.sample, values)
        self._compare(rows, task, values, look)

    def _compare(self, rows: Rows, task: Task, values: Mapping[str, Tensor], look: Look) -> None:
        told = rows.scores.get(self._teacher) if self._teacher is not None else None
        if told is not None:
            for name, scores in rows.scores.items():
                if name != self._teacher:
                    self.fidelities.setdefault(name, Fidelity(task, self._device)).add(scores, told)
        if self.worse is None or self._pair is None or rows.labels is None:
            return
        before, after = self._pair
        if before in values and after in values:
            self.worse.add(
                labels=rows.labels,
                before=rows.scores[before],
                after=rows.scores[after],
                values=(values[before], values[after]),
                sample=rows.sample,
                position=rows.position,
                start=self.samples,
                look=look,
            )


def _content(batch: Any) -> Any:
    return batch.content if isinstance(batch, TaughtBatch) else batch


def _length(said: Signals, content: Any) -> int:
    shown = said.logits if isinstance(said.logits, Tensor) else said.log_probs
    return len(shown) if isinstance(shown, Tensor) and shown.dim() else batch_size_of(content)
