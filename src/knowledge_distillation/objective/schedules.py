"""Schedules of weights and temperatures: progress from 0 at the start to 1 at the end of training -> a number."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.errors import ConfigError, nearest

Schedule = Callable[[float], float]


def linear(start: float = 0.0, end: float = 1.0) -> Schedule:
    """A straight line from start to end."""
    return lambda progress: start + (end - start) * progress


def cosine(start: float = 1.0, end: float = 0.0) -> Schedule:
    """Half a cosine from start to end: slow, fast, slow."""
    return lambda progress: end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def warm_up(share: float = 0.1, start: float = 0.0, end: float = 1.0) -> Schedule:
    """A straight line from start to end over the first `share` of training, then end."""
    if not 0 < share <= 1:
        raise ConfigError(f"warm_up's share must be above 0 and at most 1, got {share!r}.")
    return lambda progress: end if progress >= share else start + (end - start) * progress / share


def step(at: float = 0.5, before: float = 1.0, after: float = 0.0) -> Schedule:
    """One value before the share `at` of training, another from there on."""
    return lambda progress: before if progress < at else after


SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    "linear": linear,
    "cosine": cosine,
    "warm_up": warm_up,
    "step": step,
}


def is_schedule(value: Any) -> bool:
    """Whether a value can be called with the progress alone."""
    try:
        inspect.signature(value).bind(0.0)
    except TypeError:
        return False
    except ValueError:  # a callable written in C says nothing
        return callable(value)
    return True


def schedule_from(spec: Any, what: str = "schedule") -> Schedule | None:
    """A schedule from None, a callable, a name, or a mapping with "name" and settings.

    Args:
        spec: one of these.
        what: the field of a term that it is for.

    Raises:
        ConfigError: if the name or a setting is unknown.
    """
    if spec is None:
        return None
    if callable(spec):
        schedule: Schedule = spec
        return schedule
    settings = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in SCHEDULES:
        raise ConfigError(
            f"A term's {what} is {spec!r}, and there is no weight schedule named {name!r}. "
            f"{nearest(str(name), SCHEDULES)} Or a function of progress from 0 to 1."
        )
    for setting, value in settings.items():
        if not is_finite_number(value):
            raise ConfigError(f"The schedule {name!r} needs numbers, got {setting}={value!r}.")
    try:
        return SCHEDULES[name](**settings)
    except TypeError as error:
        raise ConfigError(f"The schedule {name!r} cannot be built: {error}.") from error
