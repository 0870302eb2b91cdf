"""Several specialists as one teacher: each sample is answered by its own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, auto, split_batch
from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.errors import ConfigError, ModelContractError, ShapeError, nearest
from knowledge_distillation.signals import OUTPUTS, Signals
from knowledge_distillation.teachers.members import Members
from knowledge_distillation.teachers.teacher import Teacher

Route = Callable[[Any], "Tensor | Sequence[Hashable]"]
"""One batch -> the key of each sample's teacher, in order."""


class RoutedTeacher:
    """Ask for each sample only the teacher that is responsible for it, and put the answers back in order.

    Every teacher sees the part of the batch that is its own, so the work is that of one teacher for each sample.

    Args:
        teachers: key -> Teacher or nn.Module, or a sequence, whose keys are 0, 1, ... All give signals of one shape.
        route: batch -> key of each sample's teacher, as an integer tensor of shape [batch] or a sequence; such as
            `ByLabel`.
        adapter: (model, batch, temperature) -> Signals, for teachers that are modules.
        temperature: handed to the adapter.

    Raises:
        ConfigError: if there is no teacher, one follows the student, or `route` cannot be called.
    """

    def __init__(
        self,
        teachers: Mapping[Any, Teacher | nn.Module] | Sequence[Teacher | nn.Module],
        route: Route,
        *,
        adapter: Adapter = auto,
        temperature: float = 1.0,
    ) -> None:
        named = dict(teachers) if isinstance(teachers, Mapping) else dict(enumerate(teachers))
        if not callable(route):
            raise ConfigError(f"route must be a callable batch -> key of each sample's teacher, got {route!r}.")
        self.route = route
        self._members = Members(list(named.values()), adapter=adapter, temperature=temperature)
        self._by_key = dict(zip(named, self._members.teachers, strict=True))

    @property
    def members(self) -> Sequence[Teacher]:
        """The teachers that it is made of."""
        return self._members.teachers

    @property
    def fingerprint(self) -> str:
        """sha256 over the teachers' fingerprints, their keys and the route's description."""
        described = getattr(self.route, "__qualname__", None) or repr(self.route)
        return self._members.fingerprint(list(self._by_key), described)

    def prepare(self, device: torch.device) -> None:
        """Move every teacher to the device and freeze it."""
        self._members.prepare(device)

    def signals(self, batch: Any, wanted: Sequence[str] = ("logits",)) -> Signals:
        """Each sample's signals from its own teacher, without gradient.

        Args:
            batch: tensors with the samples on their first axis, in tuples, lists or dicts.
            wanted: "logits", "log_probs", or features that every teacher has in one shape.

        Raises:
            ConfigError: if the route names a teacher that is not there, or a teacher lacks a wanted signal.
            ShapeError: if a tensor of the batch has another first axis, or the teachers' shapes differ.
        """
        keys = self.route(batch)
        if isinstance(keys, Tensor) and keys.dim() != 1:
            raise ShapeError(f"A route must give one key a sample, shape [batch], got {tuple(keys.shape)}. Flatten it.")
        order = keys.tolist() if isinstance(keys, Tensor) else list(keys)
        rows: dict[Any, list[int]] = {}
        for place, key in enumerate(order):
            rows.setdefault(key, []).append(place)
        parts: list[tuple[list[int], Signals]] = []
        for key, places in rows.items():
            if key not in self._by_key:
                raise ConfigError(
                    f"The route sends sample {places[0]} to teacher {key!r}, which is not there, so nobody would teach "
                    f"it. {nearest(str(key), map(str, self._by_key))}"
                )
            parts.append((places, self._by_key[key].signals(part_of(batch, places, len(order)), wanted)))
        gathered: dict[str, Any] = {name: _in_order(name, parts, len(order)) for name in wanted}
        outputs: dict[str, Any] = {name: gathered.pop(name) for name in OUTPUTS if name in gathered}
        return Signals(**outputs, features=gathered)

    def release(self) -> None:
        """Release every teacher."""
        self._members.release()


class ByLabel:
    """A route by class: teacher i answers the samples whose label is in group i.

    Args:
        groups: class ids of each teacher, in order; no class twice.

    Raises:
        ConfigError: if a group is no list of whole numbers, or a class stands in two.
    """

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        lists = all(isinstance(group, (list, tuple, range)) for group in groups)
        if not lists or not all(isinstance(label, int) for group in groups for label in group):
            raise ConfigError(f"Groups must be lists of class ids, such as [[0, 1], [2, 3]]; got {groups!r}.")
        self.groups = [list(group) for group in groups]
        self._teacher_of = {label: place for place, group in enumerate(self.groups) for label in group}
        if len(self._teacher_of) != sum(map(len, self.groups)):
            raise ConfigError(f"A class must have one teacher, and {self.groups} name one twice.")

    def __repr__(self) -> str:
        return f"ByLabel({self.groups})"

    def __call__(self, batch: Any) -> list[int]:
        """The group of each sample's label.

        Raises:
            ModelContractError: if the batch has no labels, or another form than `capture.adapters.split_batch` takes.
            ConfigError: if a label is in no group.
        """
        labels = split_batch(batch)[2]
        if not isinstance(labels, Tensor):
            raise ModelContractError("Routing by label needs labels, and the batch has none. Yield (inputs, labels).")
        given = labels.tolist()
        strays = sorted({label for label in given if label not in self._teacher_of})
        if strays:
            raise ConfigError(
                f"Label {strays[0]} is in none of the groups {self.groups}, so nobody would teach its samples. Put it "
                "into one; samples without a label (-100) need another route."
            )
        return [self._teacher_of[label] for label in given]


def part_of(batch: Any, places: Sequence[int], count: int) -> Any:
    """Some samples of a batch, in the batch's own form.

    Args:
        batch: tensors with the samples on their first axis, sequences of plain values one a sample, in any nesting
            of tuples, lists and dicts; scalars are handed on as they are.
        places: which samples.
        count: how many the batch has.

    Raises:
        ShapeError: if a tensor's first axis is not `count` long.
    """

    def pick(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.dim():
            if len(leaf) != count:
                raise ShapeError(
                    f"Every tensor of a batch must have its {count} samples on the first axis, got "
                    f"{tuple(leaf.shape)}: it cannot be split over teachers. Put the batch axis first."
                )
            return leaf[torch.as_tensor(places, device=leaf.device)]
        if isinstance(leaf, (tuple, list)) and len(leaf) == count:
            return [leaf[place] for place in places]
        return leaf

    return map_leaves(batch, pick)


def _in_order(name: str, parts: Sequence[tuple[list[int], Signals]], count: int) -> Tensor:
    """One signal of all samples, each from its own teacher's answer."""
    said = [(places, answer.named(name, whose="teacher")) for places, answer in parts]
    shapes = [tuple(value.shape[1:]) for _, value in said]
    if len(set(shapes)) > 1:
        raise ShapeError(
            f"The teachers give {name!r} in different shapes without the batch axis, {shapes}, so one student cannot "
            "follow them all. Compare a signal that has one shape, such as logits over the same classes."
        )
    whole: Tensor = said[0][1].new_empty(count, *shapes[0])
    for places, value in said:
        whole[torch.as_tensor(places, device=whole.device)] = value.to(whole.dtype)
    return whole
