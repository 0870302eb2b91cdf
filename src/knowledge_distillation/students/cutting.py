"""Take layers out of a model and set right what counts or numbers them; every step can be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from knowledge_distillation.capture.paths import modules_by_path
from knowledge_distillation.students.configurations import Set, counted_by
from knowledge_distillation.students.stacks import LayerList, Stack

INDEX_NAMES = ("layer_idx", "layer_id", "layer_index", "block_idx")
"""Attributes under which a layer keeps its own number; Hugging Face's key-value caches are addressed by it."""
COUNT_NAMES = ("num_layers", "n_layers", "num_hidden_layers", "n_layer")
"""Attributes under which the module around a list keeps the number of its layers."""
SHARED_BY_FIRST = {
    "relative_attention_bias": "has_relative_attention_bias",
    "rel_attn_embed": "has_relative_position_bias",
}
"""What only the first layer owns and hands on to all others, with the attribute that says so: T5, WavLM."""


class Cut:
    """The changes that a cut made to a model, so that they can be undone."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute."""
        before = getattr(owner, name)
        self._undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, value)

    def fill(self, container: LayerList, layers: Mapping[str, nn.Module | None]) -> None:
        """Let a list hold these layers."""
        before = dict(container._modules)

        def refill(content: Mapping[str, Any]) -> None:
            container._modules.clear()
            container._modules.update(content)

        self._undo.append(lambda: refill(before))
        refill(layers)

    def move(self, name: str, giver: nn.Module, taker: nn.Module) -> None:
        """Hand a submodule on from one module to another."""

        def give_back() -> None:
            setattr(giver, name, getattr(taker, name))
            delattr(taker, name)

        self._undo.append(give_back)
        setattr(taker, name, getattr(giver, name))
        delattr(giver, name)

    def undo(self) -> None:
        """Put everything back, last change first."""
        while self._undo:
            self._undo.pop()()


def cut(model: nn.Module, stack: Stack, kept: Sequence[int]) -> Cut:
    """Leave only some layers of a stack in a model, in place.

    What numbers or counts them follows: the layers' own numbers, the counts of the modules around them and of Hugging
    Face configurations, lists with one entry a layer, the weights of a weighted sum over layers. What only the first
    layer owns for all of them (relative position biases) goes to the first that is left.

    Args:
        model: changed.
        stack: of this model.
        kept: rising numbers.

    Returns:
        What undoes it.
    """
    done = Cut()
    modules = modules_by_path(model)
    for path, container in stack.containers.items():
        mine = {slot.key: number for number, slots in enumerate(stack.layers) for slot in slots if slot.path == path}
        before = list(container._modules)
        after = [key for key in before if key not in mine or mine[key] in kept]
        layers = [container._modules[key] for key in after]
        _hand_on(done, container, before, after)
        numbered = all(key.isdigit() for key in before)
        done.fill(container, {str(new) if numbered else key: layers[new] for new, key in enumerate(after)})
        for new, (key, layer) in enumerate(zip(after, layers, strict=True)):
            _renumber(done, layer, before.index(key), new)
        around = modules[path.rpartition(".")[0]] if path else None
        for name in COUNT_NAMES:
            if around is not None and vars(around).get(name) == len(before):
                done.set(around, name, len(after))
        if len(mine) == len(before):
            indices = [before.index(key) for key in after]
            counted_by(modules, path, len(before), indices, done.set)
            _cut_weighted_sum(done, model, len(before), indices)
    if stack.stages:
        _cut_depths(done.set, modules, stack, kept)
    return done


@contextmanager
def cut_for_now(model: nn.Module, stack: Stack, kept: Sequence[int]) -> Iterator[None]:
    """`cut`, undone at the end of the block."""
    done = cut(model, stack, kept)
    try:
        yield
    finally:
        done.undo()


def _hand_on(done: Cut, container: LayerList, before: Sequence[str], after: Sequence[str]) -> None:
    first, heir = container._modules[before[0]], container._modules[after[0]]
    if first is None or heir is None or first is heir:
        return
    owners = dict(heir.named_modules())
    for path, module in list(first.named_modules()):
        for name, flag in SHARED_BY_FIRST.items():
            if name in module._modules and path in owners and name not in owners[path]._modules:
                done.move(name, module, owners[path])
                if flag in vars(owners[path]):
                    done.set(owners[path], flag, True)
                    done.set(module, flag, False)


def _renumber(done: Cut, layer: nn.Module | None, before: int, after: int) -> None:
    if layer is None or before == after:
        return
    for module in layer.modules():
        for name in INDEX_NAMES:
            number = vars(module).get(name)
            if number == before and not isinstance(number, bool):
                done.set(module, name, after)


def _cut_weighted_sum(done: Cut, model: nn.Module, total: int, kept: Sequence[int]) -> None:
    """A learned weight for the input and each layer, as Hugging Face's speech classifiers have with `layer_weights`."""
    for module in model.modules():
        weights = module._parameters.get("layer_weights")
        if weights is not None and weights.shape == (total + 1,):
            chosen = torch.tensor([0, *(number + 1 for number in kept)], device=weights.device)
            done.set(module, "layer_weights", nn.Parameter(weights.detach()[chosen], weights.requires_grad))


def _cut_depths(set_to: Set, modules: Mapping[str, nn.Module], stack: Stack, kept: Sequence[int]) -> None:
    """The blocks of each stage in a Hugging Face configuration, as ResNet, Swin and ConvNeXt count them."""
    config = getattr(modules[""], "config", None)
    depths = getattr(config, "depths", None)
    paths = [slots[0].path for slots in stack.layers]
    if depths is not None and list(depths) == [paths.count(path) for path in stack.containers]:
        left = [paths[number] for number in kept]
        set_to(config, "depths", [left.count(path) for path in stack.containers])
