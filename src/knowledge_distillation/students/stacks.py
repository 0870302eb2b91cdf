"""Where a model's repeated layers stand, and which of them can go without leaving a gap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from knowledge_distillation.capture.paths import modules_by_path
from knowledge_distillation.errors import ConfigError, nearest

LayerList = nn.ModuleList | nn.Sequential


@dataclass(frozen=True, slots=True)
class Slot:
    """One entry of a list of layers: the list, its module path, and the name of the entry in it."""

    path: str
    container: LayerList
    key: str

    @property
    def module(self) -> nn.Module:
        """The layer that stands there."""
        return self.container.get_submodule(self.key)

    @property
    def name(self) -> str:
        """Module path of the layer."""
        return f"{self.path}.{self.key}" if self.path else self.key


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers in the order in which they are called, numbered from 0.

    Attributes:
        layers: the slots of each number; several where lists are cut alike.
        fixed: numbers that must stay: these layers change the width or the resolution, or open a stage.
    """

    layers: tuple[tuple[Slot, ...], ...]
    fixed: frozenset[int]

    @property
    def free(self) -> list[int]:
        """Numbers that can be dropped, rising."""
        return [number for number in range(len(self.layers)) if number not in self.fixed]

    @property
    def containers(self) -> dict[str, LayerList]:
        """The lists by their module path, in order."""
        return {slot.path: slot.container for slots in self.layers for slot in slots}

    @property
    def stages(self) -> bool:
        """Whether the layers stand in several lists, one after the other, as a ResNet's blocks do."""
        return len({slots[0].path for slots in self.layers}) > 1

    def named(self, numbers: Sequence[int]) -> list[str]:
        """Module paths of the first slot of each number."""
        return [self.layers[number][0].name for number in numbers]


def find_stack(model: nn.Module, path: str | Sequence[str] | None = None) -> Stack:
    """The repeated layers of a model.

    Without a path: lists of layers of one class, those of equal place in numbered stages taken together (a ResNet's
    layer1 to layer4). Of several such stacks the one with the most layers; a list inside a layer of another does not
    count. In a list of stages the first block of each stays; so does every layer whose shapes say that it changes the
    width or that has a stride.

    Args:
        model: wrapped or not.
        path: module path of an `nn.ModuleList` or `nn.Sequential`; several paths of equally long lists cut them alike.

    Raises:
        ConfigError: if there is no such list, or two stacks are equally long.
    """
    lists = _lists(model)
    if path is not None:
        return _named([path] if isinstance(path, str) else list(path), lists)
    stacks = [stack for stack in _stacks(lists) if stack.free and len(stack.layers) > 1]
    outer = [stack for stack in stacks if not any(_lies_inside(stack, other) for other in stacks)]
    if not outer:
        raise ConfigError(
            f"{type(model).__name__} has no list of layers of one class that can take each other's place. Name its "
            f"list with stack=. {nearest('layers', lists)}"
        )
    longest = max(len(stack.layers) for stack in outer)
    best = [stack for stack in outer if len(stack.layers) == longest]
    if len(best) > 1:
        paths = [" and ".join(stack.containers) for stack in best]
        raise ConfigError(
            f"{type(model).__name__} has {len(best)} stacks of {longest} layers, and it must be clear which is cut: "
            f"{', '.join(paths)}. Name one with stack=, or several in a list to cut them alike."
        )
    return best[0]


def _lists(model: nn.Module) -> dict[str, LayerList]:
    found: dict[str, LayerList] = {}
    for path, module in modules_by_path(model).items():
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) and module not in found.values():
            found[path] = module
    return found


def _named(paths: Sequence[str], lists: dict[str, LayerList]) -> Stack:
    known = {path: module for path, module in lists.items() if len(module) > 1}
    for path in paths:
        if path not in known:
            raise ConfigError(f"{path!r} is no list of several layers. {nearest(path, known)}")
    columns = [[Slot(path, known[path], key) for key in known[path]._modules] for path in paths]
    if len({len(column) for column in columns}) != 1:
        lengths = ", ".join(f"{path}: {len(known[path])}" for path in paths)
        raise ConfigError(f"Lists that are cut alike must be equally long; got {lengths}.")
    fixed: set[int] = set()
    for column in columns:
        if len({type(slot.module) for slot in column}) == 1:  # of mixed lists the caller knows more than the shapes say
            fixed |= set(_fixed(column))
    return Stack(tuple(zip(*columns, strict=True)), frozenset(fixed))


def _stacks(lists: dict[str, LayerList]) -> Iterator[Stack]:
    groups: dict[tuple[type[nn.Module], str], list[list[Slot]]] = {}
    for path, container in lists.items():
        for run in _runs(path, container):
            groups.setdefault((type(run[0].module), re.sub(r"\d+", "#", path)), []).append(run)
    for runs in groups.values():
        fixed: set[int] = set()
        begin = 0
        for run in runs:
            fixed |= {begin + number for number in _fixed(run)}
            if len(runs) > 1:
                fixed.add(begin)
            begin += len(run)
        yield Stack(tuple((slot,) for run in runs for slot in run), frozenset(fixed))


def _runs(path: str, container: LayerList) -> Iterator[list[Slot]]:
    """Neighbours of one class that have parameters."""
    run: list[Slot] = []
    for key, module in container._modules.items():
        if run and type(module) is not type(run[-1].module):
            yield run
            run = []
        if module is not None and any(True for _ in module.parameters()):
            run.append(Slot(path, container, key))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _fixed(run: Sequence[Slot]) -> Iterator[int]:
    """Numbers within a run of layers of one class that change what they hand on in width or resolution."""
    shapes = [{name: tuple(value.shape) for name, value in slot.module.named_parameters()} for slot in run]
    for number, slot in enumerate(run):
        if _strides(slot.module):
            yield number
        elif number == 0:
            # Equal shapes where both have a parameter: it takes in what the next layer takes in.
            after = shapes[min(1, len(run) - 1)]
            both = [name for name in shapes[0] if name in after]
            if shapes[0] and (not both or any(shapes[0][name] != after[name] for name in both)):
                yield number
        else:
            # The last parameter that both have belongs to the output: this layer takes in what it gives out.
            common = [name for name in shapes[number] if name in shapes[number - 1]]
            if shapes[number] and (not common or shapes[number][common[-1]][:1] != shapes[number - 1][common[-1]][:1]):
                yield number


def _strides(layer: nn.Module) -> bool:
    for module in layer.modules():
        for name in ("stride", "scale_factor"):
            value = getattr(module, name, 1)
            values = value if isinstance(value, (tuple, list)) else (value,)
            if any(isinstance(step, (int, float)) and step != 1 for step in values):
                return True
    return False


def _lies_inside(inner: Stack, outer: Stack) -> bool:
    layers = [f"{slot.name}." for slots in outer.layers for slot in slots]
    return any(f"{path}.".startswith(layer) for path in inner.containers for layer in layers)
