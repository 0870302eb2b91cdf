"""Hugging Face configurations of cut models: their counts follow, and whether they still describe the model is seen."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

Set = Callable[[Any, str, Any], None]
"""(object, name of an attribute, value) -> None."""
PLAIN = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
OF_SIDE = {
    "encoder": ("encoder_layers", "num_encoder_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers"),
}
PASSING = ("training", "gradient_checkpointing", "layerdrop", "drop_prob")
"""Attributes that say nothing about what a layer computes in eval mode."""


def counted_by(modules: Mapping[str, nn.Module], path: str, total: int, kept: Sequence[int], set_to: Set) -> None:
    """Let the configurations around a list of layers count those that are left.

    Args:
        modules: of the model by path.
        path: of the list.
        total: layers that it had.
        kept: indices of those that are left.
        set_to: how an attribute is set.
    """
    side = _side(modules, path)
    root = getattr(modules[""], "config", None)
    for config in _around(modules, path):
        of_side = [name for name in OF_SIDE.get(side, ()) if getattr(config, name, None) == total]
        # Where one configuration counts both sides, its plain names count the encoder.
        plain = [] if side == "decoder" and of_side and config is root else PLAIN
        lists = {
            name: value
            for name, value in vars(config).items()
            if "layer" in name and isinstance(value, (list, tuple)) and len(value) == total
        }
        for name in [*of_side, *(name for name in plain if getattr(config, name, None) == total)]:
            if getattr(config, name) == total:  # two names may stand for one count
                set_to(config, name, len(kept))
        for name, value in lists.items():
            set_to(config, name, type(value)(value[index] for index in kept))


def check_configuration(model: nn.Module) -> None:
    """Warn where a Hugging Face configuration no longer describes its model, so that `from_pretrained` would not do.

    A model is built from the configuration without storage, and its names, shapes and layer settings are compared.
    """
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "to_dict") or not hasattr(type(model), "_from_config"):
        return
    try:
        read = type(config).from_dict(copy.deepcopy(config).to_dict())
        with torch.device("meta"):
            built = type(model)(read)
        lacking = _difference(model, built)
    except Exception as error:
        lacking = f"a model cannot be built from it ({type(error).__name__}: {error})"
    if lacking:
        logger.warning(
            "The configuration of this %s no longer describes it: %s. Training and saving its weights work; "
            "save_pretrained followed by from_pretrained would give another model. Keep the model's own state dict.",
            type(model).__name__,
            lacking,
        )


def _difference(model: nn.Module, built: nn.Module) -> str:
    mine = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            return f"{name} is {mine.get(name, 'missing')} here and {theirs.get(name, 'missing')} there"
    others = dict(built.named_modules())
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") or name in PASSING or not isinstance(value, (bool, int, float, str)):
                continue
            other = vars(others[path]).get(name, value) if path in others else value
            if isinstance(other, (bool, int, float, str)) and other != value:
                return f"{path}.{name} is {value!r} here and {other!r} there"
    return ""


def _around(modules: Mapping[str, nn.Module], path: str) -> Iterator[Any]:
    """The distinct configurations of the modules around a path, outermost first."""
    seen: list[int] = []
    names = path.split(".")
    for depth in range(len(names)):
        config = getattr(modules[".".join(names[:depth])], "config", None)
        if hasattr(config, "to_dict") and id(config) not in seen:
            seen.append(id(config))
            yield config


def _side(modules: Mapping[str, nn.Module], path: str) -> str:
    """Whether a list belongs to an encoder or a decoder, by the nearest module around it that says so."""
    names = path.split(".")
    for depth in range(len(names), -1, -1):
        place = ".".join(names[:depth])
        said = f"{names[depth - 1] if depth else ''} {type(modules[place]).__name__}".lower()
        for side in ("decoder", "encoder"):
            if side in said:
                return side
    return ""
