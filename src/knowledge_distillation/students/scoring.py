"""How near an untrained student's answers are to its teacher's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses.sequences.forward_kl import forward_kl
from knowledge_distillation.signals import Signals
from knowledge_distillation.training.pipelines import to_device


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    return forward_kl(student, teacher, reduction="none")


def _cosine(student: Tensor, teacher: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"kl": _kl, "cosine": _cosine}
"""[*items, channels] twice -> one distance an item, shape [*items]; 0 where student and teacher agree."""


def check_distance(name: str) -> None:
    """Raise ConfigError if there is no distance of this name."""
    if name not in DISTANCES:
        raise ConfigError(f"There is no distance {name!r} between answers. {nearest(name, DISTANCES)}")


def distances(
    students: Iterable[Callable[[], nn.Module]],
    teacher: nn.Module,
    batches: Iterable[Any],
    distance: str,
    adapter: str | Adapter,
) -> list[float]:
    """The mean distance of each student's answers from the teacher's, over all items of all batches.

    Args:
        students: each is called for its model once a batch, and is done with it before the next is called.
        teacher: called once a batch.
        batches: moved to the teacher's device.
        distance: of `DISTANCES`.
        adapter: reads logits, or the last hidden state where there are none.

    Raises:
        ConfigError: if there is no batch, or an answer holds neither.
    """
    makers = list(students)
    read = adapter_pair(adapter)[0]
    measure = DISTANCES[distance]
    device = next((parameter.device for parameter in teacher.parameters()), torch.device("cpu"))
    totals, items = [0.0] * len(makers), 0
    for content in batches:
        batch = to_device(content, device)
        with undisturbed(teacher):
            said = read(teacher, batch, 1.0)
        theirs = _answer(said)
        counted = torch.ones(theirs.shape[:-1], dtype=torch.bool, device=device) if said.mask is None else said.mask
        items += int(counted.sum())
        for place, make in enumerate(makers):
            student = make()
            with undisturbed(student):
                ours = _answer(read(student, batch, 1.0))
            totals[place] += float(measure(ours, theirs)[counted].double().sum())
    if not items:
        raise ConfigError("The loader gave no item, so no student could be scored.")
    return [total / items for total in totals]


def _answer(said: Signals) -> Tensor:
    answer: Tensor | None = said.logits if said.logits is not None else said.features.get("last_hidden_state")
    if answer is None:
        raise ConfigError(
            "The model's answer holds neither logits nor a last hidden state, so students cannot be compared with "
            "their teacher. Pass an adapter that gives logits, or a pipeline that scores a model."
        )
    return answer
