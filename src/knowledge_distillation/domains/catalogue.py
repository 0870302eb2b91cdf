"""Models and data sets by short name, gathered from every domain that is there."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from lightning.pytorch import Callback
from torch import nn

from knowledge_distillation import domains
from knowledge_distillation.accepted import check_accepted
from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import ConfigError, DistillationError, nearest
from knowledge_distillation.students import from_config


def models() -> dict[str, Callable[..., nn.Module]]:
    """Short name -> a callable (data facts and settings by keyword) -> module."""
    return {"from_config": from_config, **_gather("MODELS")}


def data_sets() -> dict[str, Callable[..., Data]]:
    """Short name -> a callable (settings by keyword) -> `Data`."""
    return _gather("DATA_SETS")


def comes_with_weights(name: str, extra: Mapping[str, Any]) -> bool:
    """Whether a model of this name is trained already, as one that is loaded from a hub is; `extra` as below."""
    return name not in extra and any(name in getattr(domain, "PRETRAINED", ()) for domain in _domains())


def has_weights(model: nn.Module) -> bool:
    """Whether there is something to train or to load in a model; a fitted forest has nothing, and is ready as it is."""
    return any(True for _ in model.parameters()) or any(True for _ in model.buffers())


def callbacks() -> dict[str, Callable[..., Callback]]:
    """Short name -> a callable (settings by keyword) -> a Lightning callback for the student's training."""
    return _gather("CALLBACKS")


def build_model(
    name: str, facts: Mapping[str, Any], settings: Mapping[str, Any], extra: Mapping[str, Any]
) -> nn.Module:
    """Make a model by name.

    Args:
        name: a key of `models()` or of `extra`.
        facts: the data's facts; those that the callable takes are handed on.
        settings: what the recipe says; wins over the facts.
        extra: the user's own models by name.

    Raises:
        ConfigError: if the name is unknown, or a setting is unknown or has a value that does not fit.
    """
    model: nn.Module = _call("model", name, {**models(), **extra}, facts, settings)
    return model


def build_data(name: str, settings: Mapping[str, Any], extra: Mapping[str, Any]) -> Data:
    """Make a data set's loaders by name; see `build_model`."""
    data: Data = _call("data set", name, {**data_sets(), **extra}, {}, settings)
    return data


def build_callback(spec: Mapping[str, Any]) -> Callback:
    """Make a callback by its "name", with the other entries as settings; errors as of `build_model`."""
    settings = {key: value for key, value in spec.items() if key != "name"}
    callback: Callback = _call("callback", spec["name"], callbacks(), {}, settings)
    return callback


def _call(kind: str, name: str, known: Mapping[str, Any], facts: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ConfigError(f"There is no {kind} named {name!r}. {nearest(name, known)}")
    accepted = inspect.signature(known[name]).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    for setting in settings:
        if setting not in accepted and not open_ended:
            raise ConfigError(f"The {kind} {name!r} has no setting {setting!r}. {nearest(str(setting), accepted)}")
    check_accepted(f"The {kind} {name!r}", known[name], settings)
    usable = {key: value for key, value in facts.items() if key in accepted or open_ended}
    try:
        return known[name](**{**usable, **settings})
    except DistillationError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch, of sizes that no tensor has
        given = ", ".join(f"{key}={value!r}" for key, value in {**usable, **settings}.items())
        raise ConfigError(f"The {kind} {name!r} cannot be built with {given or 'no settings'}: {error}") from error


def _gather(what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for domain in _domains():
        found.update(getattr(domain, what, {}))
    return found


def _domains() -> list[ModuleType]:
    names = [info.name for info in pkgutil.iter_modules(domains.__path__) if info.ispkg]
    return [importlib.import_module(f"{domains.__name__}.{name}") for name in names]
