"""Prove an artefact: ask it and the student the same, and score both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.errors import ExportError, ModelContractError
from knowledge_distillation.evaluation.tasks import find_task
from knowledge_distillation.export.calls import Call, Plain, floats_as, outputs_of, recorded, tensors_of
from knowledge_distillation.export.equality import Differences
from knowledge_distillation.export.tracing import other_sizes
from knowledge_distillation.signals import Signals
from knowledge_distillation.training.pipelines import AccuracyPipeline, higher_is_better, score, to_device

FAITHFUL = {torch.float32: 1e-2, torch.float64: 1e-3}
"""How far a copy in float32 on the CPU may be from the student where it runs; TF32 on a GPU takes 1e-3."""
FAITHFUL_HALF = 0.1


@dataclass(frozen=True, slots=True)
class Proof:
    """What an artefact is compared on.

    Attributes:
        plain: the student, tensors in and tensors out.
        adapter: calls the student on a batch.
        batches: real batches.
        tensors, axes: the example's inputs and their varying axes, of which other sizes are made.
        dtype: of the shipped student; None for its own.
        classes: False where the pipeline says that no output is a score of a class.
    """

    plain: Plain
    adapter: Adapter
    batches: Sequence[Any]
    tensors: Sequence[Tensor]
    axes: Sequence[Mapping[int, str]]
    dtype: torch.dtype | None
    classes: bool

    def differences(self, answer: Callable[..., Sequence[Tensor]]) -> Differences:
        """Ask the artefact what the student was asked: every batch, and the example in other sizes.

        Raises:
            ExportError: if the artefact cannot answer one of them.
        """
        found = Differences()
        with torch.no_grad():
            for batch in self.batches:
                call = recorded(self.plain.student, in_dtype(batch, self.dtype), self.adapter)
                expected = outputs_of(call.output, type(self.plain.student).__name__)
                given = self._asked(answer, tensors_of(call), expected)
                classes = self.classes and not _are_numbers(call.signals)
                found.add(expected, given, mask=call.signals.mask, rows=_rows(call), classes=classes)
            names = list(expected)
            for tensors in other_sizes(self.tensors, self.axes):
                expected = dict(zip(names, self.plain(*tensors), strict=True))
                given = self._asked(answer, tensors, expected)
                found.add(expected, given, mask=None, rows=int(tensors[0].shape[0]), classes=classes)
        return found

    def _asked(
        self, answer: Callable[..., Sequence[Tensor]], tensors: Sequence[Tensor], expected: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        try:
            return dict(zip(expected, answer(*tensors), strict=True))
        except Exception as error:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise ExportError(
                f"The artefact cannot answer inputs of shape {shapes}, which the student answers: {error}. An axis was "
                "fixed at the example's size. Take sizes from the input in forward, or pass dynamic= with the axes "
                "that really vary."
            ) from error


def check_faithful(student: nn.Module, plain: Plain, batch: Any, adapter: Adapter, dtype: torch.dtype | None) -> None:
    """Raise ExportError unless the copy to ship answers as the student does where it is, up to their precision.

    Args:
        student: in eval mode without gradient; on its own device.
        plain: the copy.
        batch: on the CPU.
        adapter: calls both.
        dtype: of the copy.
    """
    parameter = next(student.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    own = torch.float32 if parameter is None else parameter.dtype
    there = recorded(student, in_dtype(to_device(batch, device), own), adapter)
    here = recorded(plain.student, in_dtype(batch, dtype), adapter)
    found = Differences()
    whose = type(plain.student).__name__
    expected = {name: value.float().cpu() for name, value in outputs_of(there.output, whose).items()}
    found.add(expected, outputs_of(here.output, whose), mask=None, rows=_rows(here))
    distance = found.as_dict()["mean_relative"]
    if found.odd or not distance <= FAITHFUL.get(own, FAITHFUL_HALF):
        raise ExportError(
            f"A copy of the student without hooks must answer as the student does, and differs by {distance:.3g} of "
            f"its mean output{''.join('; ' + odd for odd in found.odd)}. Hooks that change what it computes, or an "
            "answer that differs from call to call, cannot be exported. Put the change into forward."
        )


def scores(
    student: nn.Module, artefact: nn.Module, loader: Any, pipeline: Any, adapter: Adapter, notes: list[str]
) -> dict[str, Any] | None:
    """Score student and artefact on the loader, or say in the notes why not.

    Args:
        student: the copy to ship.
        artefact: loaded again.
        loader: whole.
        pipeline: None for accuracy.
        adapter: reads logits and labels for accuracy.
        notes: added to.

    Returns:
        {"pipeline", "student", "artefact", "drop", "higher_is_better"}; drop is positive where the artefact is worse.
    """
    chosen = AccuracyPipeline(adapter) if pipeline is None else pipeline
    try:
        values = [score(chosen, model, loader, "export") for model in (student, artefact)]
    except ModelContractError as error:
        if pipeline is not None:
            raise
        notes.append(f"No task score: {error}")
        return None
    name = type(chosen).__name__
    if not all(map(math.isfinite, values)):
        notes.append(f"No task score: {name} gave {values[0]} for the student and {values[1]} for the artefact.")
        return None
    better = higher_is_better(chosen, name)
    drop = values[0] - values[1] if better else values[1] - values[0]
    return {
        "pipeline": name,
        "student": values[0],
        "artefact": values[1],
        "drop": drop,
        "higher_is_better": better,
    }


def in_dtype(batch: Any, dtype: torch.dtype | None) -> Any:
    """The batch with its floating tensors in the model's type."""
    return map_leaves(batch, lambda leaf: floats_as([leaf], dtype)[0] if isinstance(leaf, Tensor) else leaf)


def _are_numbers(signals: Signals) -> bool:
    """Whether labels show a regression: numbers, one for each output, and not all 0, 1 or probabilities."""
    logits, labels = signals.logits, signals.labels
    if not isinstance(logits, Tensor) or labels is None or labels.numel() != logits.numel():
        return False
    return find_task(logits, labels)[0] == "regression"


def _rows(call: Call) -> int:
    first = tensors_of(call)[0]
    return int(first.shape[0]) if first.dim() else 1
