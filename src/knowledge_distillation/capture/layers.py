"""Which layers of a model are worth matching: the outputs of its repeated blocks, in order."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.capture.cka import gram
from knowledge_distillation.capture.description import default_tensor, paths_by_module, probe
from knowledge_distillation.capture.paths import modules_by_path, resolve, unwrap
from knowledge_distillation.errors import CaptureError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_NOT_A_LAYER = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer that gives a feature: where, how deep, and of which shape."""

    path: str
    shape: tuple[int, ...]
    depth: float
    """Its place among the model's layers, above 0 to 1 for the last."""


def layers(model: nn.Module, example: Any, paths: Iterable[str] | None) -> list[Layer]:
    """The layers of a model that can be matched, in the order in which they finish.

    Without `paths` these are the blocks held by Sequential, ModuleList and ModuleDict, outermost blocks only; a
    model with fewer than two gives the end of each convolution or linear layer with what follows it. Features have
    2 to 4 axes, the batch first. The model's output is left out where it is one vector an example, as logits are.

    Args:
        model: any module.
        example: one batch, as for `describe`.
        paths: only these, as for `tap`; an element in brackets cannot be chosen here.

    Raises:
        CaptureError: if none is found, or one of `paths` was not called.
    """
    inner = unwrap(model)
    by_module = paths_by_module(inner)
    inputs = default_tensor(example if isinstance(example, (tuple, list, dict)) else (example,))
    shapes: dict[str, tuple[int, ...]] = {}
    held: dict[str, weakref.ref[Tensor]] = {}

    def read(module: nn.Module, output: Any) -> None:
        tensor = default_tensor(output)
        path = by_module[module]
        if tensor is None or not tensor.is_floating_point() or tensor.dim() not in (2, 3, 4):
            return
        if inputs is not None and tensor.shape[0] != inputs.shape[0]:
            return
        shapes.pop(path, None)
        shapes[path], held[path] = tuple(tensor.shape), weakref.ref(tensor)

    output = default_tensor((probe(inner, example, read),))
    if paths is not None:
        wanted = [by_module[place.module] for place in resolve(inner, paths)]
        missing = [path for path in wanted if path not in shapes]
        if missing:
            raise CaptureError(
                f"{missing[0]!r} gave no feature of 2 to 4 axes with the batch first, or was not called. "
                "kd.capture.describe(model, example) shows what each module gives."
            )
        chosen = [path for path in shapes if path in set(wanted)]
    else:
        inside = [path for path, shape in shapes.items() if len(shape) > 2 or held[path]() is not output]
        blocks = _blocks(inner)
        chosen = [path for path in inside if path in blocks]
        chosen = chosen if len(chosen) > 1 else _group_ends(inner, inside)
    if not chosen:
        raise CaptureError(
            f"{type(inner).__name__} shows no layer with a feature of 2 to 4 axes, the batch first, before its output. "
            "Name the layers yourself: kd.capture.describe(model, example) lists them."
        )
    count = len(chosen)
    return [Layer(path=path, shape=shapes[path], depth=(place + 1) / count) for place, path in enumerate(chosen)]


def grams(model: nn.Module, example: Any, wanted: Sequence[Layer]) -> dict[str, Tensor]:
    """The Gram matrix of each layer's feature over one batch, by path, taken as the forward goes by."""
    inner = unwrap(model)
    by_module = paths_by_module(inner)
    paths = {layer.path for layer in wanted}
    found: dict[str, Tensor] = {}

    def read(module: nn.Module, output: Any) -> None:
        tensor = default_tensor(output) if by_module[module] in paths else None
        if tensor is not None:
            found[by_module[module]] = gram(tensor)

    probe(inner, example, read)
    return found


def _blocks(model: nn.Module) -> set[str]:
    known = modules_by_path(model)
    blocks: set[str] = set()
    for path, module in known.items():
        parent = path.rpartition(".")[0]
        inner = list(module.children())
        holds_blocks = type(module) in _CONTAINERS and any(list(child.children()) for child in inner)
        if path and inner and not holds_blocks and isinstance(known[parent], _CONTAINERS):
            within = path.split(".")
            if not any(".".join(within[:depth]) in blocks for depth in range(1, len(within))):
                blocks.add(path)
    return blocks


def _group_ends(model: nn.Module, fired: Sequence[str]) -> list[str]:
    known = modules_by_path(model)
    ends: list[str] = []
    for path in fired:
        module = known[path]
        if list(module.children()) or isinstance(module, _NOT_A_LAYER):
            continue
        starts = any(parameter.dim() > 1 for parameter in module.parameters())
        if starts or not ends:
            ends.append(path)
        else:
            ends[-1] = path
    return ends
