"""On-policy training in a recipe: the sampler and its settings by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_distillation.accepted import check_accepted
from knowledge_distillation.domains.language.on_policy import AdaptiveReplay, OnPolicy
from knowledge_distillation.domains.language.sampling import Sampler, StudentSampler
from knowledge_distillation.domains.language.served_sampling import ServedSampler
from knowledge_distillation.domains.language.two_models import MixedSampler, SpeculativeSampler
from knowledge_distillation.errors import ConfigError, nearest

SAMPLERS: Mapping[str, Any] = {
    "student": StudentSampler,
    "mixed": MixedSampler,
    "speculative": SpeculativeSampler,
    "served": ServedSampler,
}


def on_policy(
    sampler: str | Mapping[str, Any] = "student", *, fraction: float = 1.0, replay: float = 0.0, buffer: int = 16
) -> OnPolicy:
    """`OnPolicy` with a sampler by name.

    Args:
        sampler: a name of `SAMPLERS`, or a mapping with "name" and its settings.
        fraction, replay, buffer: as of `OnPolicy`.

    Raises:
        ConfigError: if the sampler or a setting is unknown or out of its range.
    """
    return OnPolicy(sampler_named(sampler), fraction=fraction, replay=replay, buffer=buffer)


def adaptive_replay(
    sampler: str | Mapping[str, Any] = "student", *, growth: float = 0.1, buffer: int = 1000
) -> AdaptiveReplay:
    """`AdaptiveReplay` with a sampler by name; arguments as of it, errors as of `on_policy`."""
    return AdaptiveReplay(sampler_named(sampler), growth=growth, buffer=buffer)


def sampler_named(spec: str | Mapping[str, Any]) -> Sampler:
    """A sampler by name; arguments and errors as of `on_policy`."""
    settings = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(settings.pop("name", None))
    if name not in SAMPLERS:
        raise ConfigError(f"There is no sampler {name!r}. {nearest(name, SAMPLERS)}")
    check_accepted(f"The sampler {name!r}", SAMPLERS[name], settings)
    try:
        sampler: Sampler = SAMPLERS[name](**settings)
    except TypeError as error:
        raise ConfigError(f"The sampler {name!r} cannot be made of {settings}: {error}.") from error
    return sampler
