"""What a domain's data gives to training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.training.pipelines import InferencePipeline


@dataclass(frozen=True, slots=True)
class Data:
    """Loaders of one data set.

    Attributes:
        train: shuffled training loader.
        validation: name -> loader; scored after every epoch.
        facts: what models of this data must know, such as {"classes": 10, "channels": 1, "size": 28}. Plain numbers
            mostly; a model that is made from the data themselves, as a forest is, finds what it needs here too.
        class_names: one for each class, for reports; none where classes have numbers only.
        adapter: how models are called on its batches; see `capture.adapters`.
        pipeline: scores a model on a validation loader; None for accuracy.
        show: how a report shows a sample of a batch to a person; None as `evaluation.samples.look_at` does by itself.
    """

    train: DataLoader[Any]
    validation: Mapping[str, DataLoader[Any]]
    facts: Mapping[str, Any]
    class_names: Sequence[str] = ()
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto"
    pipeline: InferencePipeline | None = None
    show: Callable[[Any, int], Any] | None = None
