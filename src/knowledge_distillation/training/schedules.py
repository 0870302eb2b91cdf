"""Learning-rate schedules by name: the original toolkit's two (per epoch), and per-step ones."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, LRScheduler, OneCycleLR

from knowledge_distillation.accepted import check_accepted, is_whole
from knowledge_distillation.errors import ConfigError, nearest

Interval = Literal["step", "epoch"]
ScheduleFactory = Callable[..., tuple[LRScheduler, Interval]]
# (optimizer, max_epochs=, total_steps=, warm_up_epochs=) -> (scheduler, how often it steps)
ScheduleSpec = str | ScheduleFactory | Mapping[str, Any]
GIVEN = ("optimizer", "max_epochs", "total_steps", "warm_up_epochs")


def linear_decay_with_warm_up(
    optimizer: Optimizer, *, max_epochs: int, total_steps: int, warm_up_epochs: float
) -> tuple[LRScheduler, Interval]:
    """The original's: epoch e of M with W warm-up epochs gives (e+1)/W, then (M-e)/(M-W), stepped once an epoch."""

    def factor(epoch: int) -> float:
        if epoch < warm_up_epochs:
            return (epoch + 1) / max(1, warm_up_epochs)
        return max(0.0, (max_epochs - epoch) / max(1, max_epochs - warm_up_epochs))

    return LambdaLR(optimizer, factor), "epoch"


def cosine_anneal(
    optimizer: Optimizer, *, max_epochs: int, total_steps: int, warm_up_epochs: float
) -> tuple[LRScheduler, Interval]:
    """The original's: cosine from the learning rate to 1e-6 over 9 epochs, then a restart, stepped once an epoch.

    A learning rate below 1e-5 anneals to a tenth of itself: the original's fixed floor made small rates rise.
    """
    floor = min(1e-6, 0.1 * min(group["lr"] for group in optimizer.param_groups))
    return CosineAnnealingWarmRestarts(optimizer, T_0=9, T_mult=1, eta_min=floor), "epoch"


def linear(
    optimizer: Optimizer, *, max_epochs: int, total_steps: int, warm_up_epochs: float
) -> tuple[LRScheduler, Interval]:
    """Linear warm-up from 0, then linear decay to 0, stepped once an optimiser step."""
    return _by_step(optimizer, max_epochs, total_steps, warm_up_epochs, lambda share: 1.0 - share)


def cosine(
    optimizer: Optimizer, *, max_epochs: int, total_steps: int, warm_up_epochs: float
) -> tuple[LRScheduler, Interval]:
    """Linear warm-up from 0, then half a cosine to 0, stepped once an optimiser step."""
    return _by_step(
        optimizer, max_epochs, total_steps, warm_up_epochs, lambda share: (1 + math.cos(math.pi * share)) / 2
    )


def constant(
    optimizer: Optimizer, *, max_epochs: int, total_steps: int, warm_up_epochs: float
) -> tuple[LRScheduler, Interval]:
    """Linear warm-up from 0, then constant, stepped once an optimiser step."""
    return _by_step(optimizer, max_epochs, total_steps, warm_up_epochs, lambda share: 1.0)


def one_cycle(
    optimizer: Optimizer, *, max_epochs: int, total_steps: int, warm_up_epochs: float
) -> tuple[LRScheduler, Interval]:
    """Smith's 1cycle (arXiv:1708.07120): up to the learning rate, then far below it, stepped once an optimiser step."""
    share = warm_up_epochs / max_epochs if warm_up_epochs else 0.3
    if share > 1:
        raise ConfigError(f"one_cycle's warm_up_epochs={warm_up_epochs} is longer than the training of {max_epochs}.")
    peak = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=peak, total_steps=total_steps, pct_start=share), "step"


def multi_step(
    optimizer: Optimizer,
    *,
    max_epochs: int,
    total_steps: int,
    warm_up_epochs: float,
    epochs: Sequence[int] | None = None,
    factor: float = 0.1,
) -> tuple[LRScheduler, Interval]:
    """Times 0.1 after 5/8, 3/4 and 7/8 of the training, or after given epochs, stepped once an epoch.

    Those are epochs 150, 180 and 210 of 240, as RepDistiller and mdistiller train on CIFAR-100. As a mapping:
    {"name": "multi_step", "epochs": [30, 60, 90], "factor": 0.1}.
    """
    after = [round(share * max_epochs) for share in (0.625, 0.75, 0.875)] if epochs is None else list(epochs)
    if not all(is_whole(epoch) and epoch >= 1 for epoch in after) and epochs is not None:
        raise ConfigError(f"multi_step's epochs must be whole numbers of at least 1, got {epochs!r}.")
    if not 0 < factor <= 1:
        raise ConfigError(f"multi_step's factor must be above 0 and at most 1, got {factor!r}.")

    def share(epoch: int) -> float:
        if epoch < warm_up_epochs:
            return (epoch + 1) / max(1, warm_up_epochs)
        return float(factor ** sum(epoch >= end for end in after))

    return LambdaLR(optimizer, share), "epoch"


def _by_step(
    optimizer: Optimizer, max_epochs: int, total_steps: int, warm_up_epochs: float, after: Callable[[float], float]
) -> tuple[LRScheduler, Interval]:
    warm_up = round(min(total_steps * warm_up_epochs / max_epochs, 2.0**63))

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        return after(min(1.0, (step - warm_up) / max(1, total_steps - warm_up)))

    return LambdaLR(optimizer, factor), "step"


SCHEDULES: Mapping[str, ScheduleFactory | None] = {
    "": None,
    "linear_decay_with_warm_up": linear_decay_with_warm_up,
    "cosine_anneal": cosine_anneal,
    "linear": linear,
    "cosine": cosine,
    "constant": constant,
    "one_cycle": one_cycle,
    "multi_step": multi_step,
}
PER_EPOCH = ("", "linear_decay_with_warm_up", "cosine_anneal", "multi_step")


def name_of(schedule: ScheduleSpec) -> str | None:
    """The name of a schedule, given alone or in a mapping; None for a callable."""
    if isinstance(schedule, Mapping):
        return schedule.get("name")
    return schedule if isinstance(schedule, str) else None


def check_schedule(schedule: ScheduleSpec) -> None:
    """Raise ConfigError if the schedule's name or a setting is unknown, or it cannot be called as `SCHEDULES` are."""
    if isinstance(schedule, Mapping):
        name, settings = schedule.get("name"), {key: value for key, value in schedule.items() if key != "name"}
        if not isinstance(name, str):
            raise ConfigError(f"A schedule given as a mapping needs 'name', got {dict(schedule)!r}. Known: {_known()}.")
        check_schedule(name)
        factory = SCHEDULES[name]
        accepted = [] if factory is None else [key for key in inspect.signature(factory).parameters if key not in GIVEN]
        for setting in settings:
            if setting not in accepted:
                raise ConfigError(
                    f"The schedule {name!r} has no setting {setting!r}. {nearest(str(setting), accepted)}"
                )
        if factory is not None:
            check_accepted(f"The schedule {name!r}", factory, settings)
    elif not isinstance(schedule, str):
        if not callable(schedule) or not _takes_all(schedule):
            raise ConfigError(
                f"schedule must be a name or a callable, got {schedule!r}. Known: {_known()}. A callable takes "
                "(optimizer, max_epochs=, total_steps=, warm_up_epochs=) and returns (scheduler, 'step' or 'epoch')."
            )
    elif schedule not in SCHEDULES:
        raise ConfigError(f"Could not find scheduler {schedule!r}. {nearest(schedule, map(repr, SCHEDULES))}")


def make_schedule(
    schedule: ScheduleSpec, optimizer: Optimizer, *, max_epochs: int, total_steps: int, warm_up_epochs: float
) -> dict[str, Any] | None:
    """Lightning's scheduler configuration, or None for a constant learning rate.

    Args:
        schedule: a name of `SCHEDULES`; a mapping with "name" and settings; or a callable with the signature of its
            entries.
        optimizer: what it steers.
        max_epochs: planned epochs, >= 1.
        total_steps: planned optimiser steps, >= 1.
        warm_up_epochs: epochs of warm-up; a fraction is possible for per-step schedules.

    Raises:
        ConfigError: if the name is unknown, or a callable returns something else.
    """
    check_schedule(schedule)
    factory = _factory(schedule)
    if factory is None:
        return None
    made = factory(optimizer, max_epochs=max_epochs, total_steps=total_steps, warm_up_epochs=warm_up_epochs)
    if (
        not isinstance(made, tuple)
        or len(made) != 2
        or made[1] not in get_args(Interval)
        or not hasattr(made[0], "step")
    ):
        raise ConfigError(
            f"The schedule's callable must return (scheduler, 'step' or 'epoch'), got {made!r}: nobody would step it."
        )
    scheduler, interval = made
    return {"scheduler": scheduler, "interval": interval, "frequency": 1}


def _factory(schedule: ScheduleSpec) -> ScheduleFactory | None:
    if isinstance(schedule, Mapping):
        factory = SCHEDULES[schedule["name"]]
        settings = {key: value for key, value in schedule.items() if key != "name"}
        return None if factory is None else partial(factory, **settings)
    return SCHEDULES[schedule] if isinstance(schedule, str) else schedule


def _takes_all(schedule: ScheduleFactory) -> bool:
    try:
        inspect.signature(schedule).bind(None, max_epochs=1, total_steps=1, warm_up_epochs=0.0)
    except TypeError:
        return False
    except ValueError:  # a callable written in C says nothing
        return not isinstance(schedule, type)
    return True


def _known() -> str:
    return ", ".join(map(repr, SCHEDULES))
