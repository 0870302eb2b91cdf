"""How a teacher's signals are written down: exact, halved, in eight bits, or only their likeliest classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from knowledge_distillation.accepted import check_accepted
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.teachers.cache.encodings.compact import CompactLikeliestClasses
from knowledge_distillation.teachers.cache.encodings.dense import DTYPES, Dense, Int8
from knowledge_distillation.teachers.cache.encodings.encoding import Encoding
from knowledge_distillation.teachers.cache.encodings.likeliest import LikeliestClasses
from knowledge_distillation.teachers.cache.encodings.sampled import SampledClasses

ENCODINGS: Mapping[str, Callable[..., Encoding]] = {
    entry.name: entry for entry in (Dense, Int8, LikeliestClasses, CompactLikeliestClasses, SampledClasses)
}
SPARSE = (LikeliestClasses.name, CompactLikeliestClasses.name, SampledClasses.name)
"""Encodings that name classes."""


def encoding_from(spec: str | Mapping[str, Any] | Encoding) -> Encoding:
    """An encoding from its name ("float16", "top_k", ...), a mapping with "name" and settings, or itself.

    Raises:
        ConfigError: if the name or a setting is unknown.
    """
    if not isinstance(spec, (str, Mapping)):
        if isinstance(spec, type) or not hasattr(spec, "encode"):
            raise ConfigError(
                f"An encoding must be a name, a mapping with 'name', or an encoding; got {spec!r}. "
                f"{nearest(str(spec), [*DTYPES, *ENCODINGS])}"
            )
        return spec
    settings = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(settings.pop("name", "dense"))
    if name in DTYPES:
        name, settings = Dense.name, {"dtype": name, **settings}
    if name not in ENCODINGS:
        raise ConfigError(f"There is no encoding {name!r}. {nearest(name, [*DTYPES, *ENCODINGS])}")
    known = ENCODINGS[name]().__dataclass_fields__  # type: ignore[attr-defined]
    for setting in settings:
        if setting not in known:
            raise ConfigError(f"The encoding {name!r} has no setting {setting!r}. {nearest(str(setting), known)}")
    check_accepted(f"The encoding {name!r}", ENCODINGS[name], settings)
    return ENCODINGS[name](**settings)


def described(encoding: Encoding) -> dict[str, Any]:
    """The mapping that `encoding_from` takes."""
    return {"name": encoding.name, **asdict(encoding)}  # type: ignore[call-overload]


__all__ = ["ENCODINGS", "SPARSE", "Encoding", "described", "encoding_from"]
