"""Who is evaluated: modules, exported artefacts and teachers, each asked in its own way, all answering in `Signals`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.losses import TopK
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import LiveTeacher, ReadsStudent, Teacher
from knowledge_distillation.teachers.cache import CachedTeacher, TaughtBatch
from knowledge_distillation.training.pipelines import to_device


class Artefact(nn.Module):
    """A plain callable, such as a loaded ONNX file, as a module without parameters."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *positional: Any, **named: Any) -> Any:
        return self.function(*positional, **named)


@dataclass(frozen=True, slots=True)
class Subject:
    """One model under its name.

    Attributes:
        name: as given.
        module: what is called; None for a teacher that is no single module.
        adapter: (module, batch, temperature) -> Signals.
        source: the `Teacher` that is asked where there is no module.
        device: where its inputs must be.
    """

    name: str
    module: nn.Module | None
    adapter: Adapter
    source: Teacher | None
    device: torch.device

    @property
    def is_sealed(self) -> bool:
        """Whether nobody sees its weights: a callable, or a module that wraps a runtime and holds none of its own."""
        held = [] if self.module is None else [*self.module.parameters(), *self.module.buffers()]
        return not any(tensor.numel() for tensor in held)

    def answer(self, batch: Any) -> Signals:
        """What the model says about a batch of the loader, at temperature 1.

        Raises:
            ModelContractError: if it gives neither logits nor log-probabilities, or the adapter does not understand it.
        """
        content = batch.content if isinstance(batch, TaughtBatch) else batch
        if self.source is not None:
            asked = batch if isinstance(self.source, CachedTeacher) else content
            signals = self.source.signals(to_device(asked, self.device), ("logits",))
        elif self.module is not None:
            signals = self.adapter(self.module, to_device(content, self.device), 1.0)
        else:
            raise AssertionError("a subject has a module or a source")
        if not isinstance(signals.logits, (Tensor, TopK)) and signals.log_probs is None:
            raise ModelContractError(
                f"{self.name!r} gave neither logits nor log-probabilities, so there is nothing to score. Return logits "
                "on the last axis, or pass an adapter: a callable (model, batch, temperature) -> Signals."
            )
        return signals


def subjects_of(models: Mapping[str, Any], adapter: Any, teacher: str | None) -> list[Subject]:
    """One subject for each model, in the given order.

    Args:
        models: name -> module, `Teacher`, or callable that takes a module's inputs.
        adapter: as for `evaluate`; of two the second is for the teacher.
        teacher: its name among the models.

    Raises:
        ConfigError: if there is no model, or one cannot be called.
    """
    if not isinstance(models, Mapping) or not models:
        raise ConfigError(f"models must be a mapping of name -> model with at least one, got {models!r}.")
    ours, theirs = adapter_pair(adapter)
    found = [_subject(name, model, theirs if name == teacher else ours) for name, model in models.items()]
    lent = next((subject.device for subject in found if subject.source is None), torch.device("cpu"))
    return [subject if subject.source is None else replace(subject, device=lent) for subject in found]


def _subject(name: str, model: Any, adapter: Adapter) -> Subject:
    cpu = torch.device("cpu")
    if isinstance(model, LiveTeacher):
        model, adapter = model.model, model.adapter
    if isinstance(model, nn.Module):
        held = next((tensor.device for tensor in [*model.parameters(), *model.buffers()]), cpu)
        return Subject(name, model, adapter, None, held)
    if isinstance(model, Teacher):
        return Subject(name, None, adapter, model, cpu)
    if callable(model):
        return Subject(name, Artefact(model), adapter, None, cpu)
    raise ConfigError(
        f"The model {name!r} must be an nn.Module, a Teacher, or a callable that takes the same inputs; got "
        f"{type(model).__name__}."
    )


def without_the_silent(subjects: Sequence[Subject], first_batch: Any, notes: list[str]) -> list[Subject]:
    """The subjects that can answer this data; a note for each of the others."""
    able = []
    for subject in subjects:
        if isinstance(subject.source, CachedTeacher) and not isinstance(first_batch, TaughtBatch):
            notes.append(
                f"{subject.name}: not measured. A cached teacher knows the samples of its cache and cannot answer "
                "other data; pass CachedTeacher.loader(...) as the loader, or the teacher's module."
            )
        elif isinstance(subject.source, ReadsStudent):
            notes.append(f"{subject.name}: not measured. It answers from the student's own signals.")
        else:
            able.append(subject)
    return able


@contextmanager
def at_rest(subjects: Sequence[Subject]) -> Iterator[None]:
    """Every model in eval mode without gradient inside the block, and as it was after it."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for subject in subjects:
            if subject.module is not None:
                stack.enter_context(undisturbed(subject.module))
            if subject.source is not None:
                subject.source.prepare(subject.device)
                stack.callback(subject.source.release)
        yield
