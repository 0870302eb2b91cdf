"""Optimisers by name: the original toolkit's five, and what users expect today."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer

from knowledge_distillation.accepted import check_accepted
from knowledge_distillation.errors import ConfigError, nearest

OptimizerFactory = Callable[..., Optimizer]

OPTIMIZERS: Mapping[str, OptimizerFactory] = {
    "adam": Adam,
    "sgd": SGD,
    "adam_wav2vec2.0": partial(Adam, betas=(0.9, 0.98), eps=1e-6),
    "adam_distilBert": partial(Adam, eps=1e-6),
    "adamW_distilBert": partial(AdamW, betas=(0.9, 0.98), eps=1e-6),
    "adamw": AdamW,
    "sgd_momentum": partial(SGD, momentum=0.9, weight_decay=5e-4, nesterov=True),
}


def check_optimizer(optimizer: str | OptimizerFactory | Mapping[str, Any]) -> None:
    """Raise ConfigError if `make_optimizer` could not build it, or it could not take a step; on a probe of its own."""
    probe = Parameter(torch.zeros(1, 1))  # a matrix: Muon takes nothing else
    made = make_optimizer(optimizer, [probe], learning_rate=1e-3)
    if not isinstance(optimizer, (str, Mapping)) or _needs_a_gpu(made):
        return
    probe.grad = torch.zeros_like(probe)
    try:
        made.step()
    except Exception as error:  # torch looks at some settings only now, each in its own way
        raise ConfigError(f"The optimizer {optimizer!r} cannot take a step: {error}.") from error


def _needs_a_gpu(optimizer: Optimizer) -> bool:
    return bool(optimizer.defaults.get("capturable")) and torch.cuda.is_available()


def make_optimizer(
    optimizer: str | OptimizerFactory | Mapping[str, Any], parameters: Iterable[Parameter], *, learning_rate: float
) -> Optimizer:
    """Build an optimiser over the given parameters.

    Args:
        optimizer: a name of `OPTIMIZERS`; a mapping with "name" and further settings of that class, such as
            {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}; or any class or callable
            (parameters, lr=...) -> Optimizer.
        parameters: what it trains.
        learning_rate: in the optimiser's own unit, > 0.

    Raises:
        ConfigError: if the name is unknown or the settings do not fit.
    """
    settings: dict[str, Any] = {}
    given = optimizer
    if isinstance(optimizer, Mapping):
        settings = dict(optimizer)
        optimizer = settings.pop("name", None)
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise ConfigError(f"Could not find optimizer {optimizer!r}. {nearest(optimizer, OPTIMIZERS)}")
        factory = OPTIMIZERS[optimizer]
    elif callable(optimizer):
        factory = optimizer
    else:
        raise ConfigError(
            f"optimizer must be a name, a mapping with 'name', or a torch.optim class; got {optimizer!r}. "
            f"Known: {', '.join(OPTIMIZERS)}."
        )
    check_accepted(f"The optimizer {given!r}", factory, settings)
    try:
        made = factory(parameters, lr=learning_rate, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"The optimizer {given!r} cannot be built: {error}. It takes {_settings(factory)}."
        ) from error
    if not isinstance(made, Optimizer):
        raise ConfigError(f"The optimizer's callable must return a torch Optimizer, got {type(made).__name__}.")
    return made


def _settings(factory: OptimizerFactory) -> list[str]:
    try:
        return [name for name in inspect.signature(factory).parameters if name not in ("params", "lr")]
    except ValueError:  # a callable written in C says nothing
        return []
