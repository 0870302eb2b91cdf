"""One training of a job that has several: whether it is finished, and how it goes on where it was broken off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.training.places import next_free
from knowledge_distillation.untrusted import json_of


def finished(place: Path) -> Mapping[str, float] | None:
    """The scores of a training that ran to its end in this directory, or None.

    Raises:
        ConfigError: if its environment.json is damaged.
    """
    environment = place / "environment.json"
    if not environment.is_file() or not (place / "student.safetensors").is_file():
        return None
    try:
        facts = json_of(environment)
        scores = {str(name): float(value) for name, value in facts["scores"].items()}
        interrupted = bool(facts["interrupted"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{environment} must hold the scores of a training, and does not ({type(error).__name__}: {error}): "
            "whether it ran to its end cannot be told. Remove the folder to train it again."
        ) from error
    return None if interrupted else scores


def how_to_continue(place: Path) -> str | None:
    """The `resume` of a training that is not finished: "auto" from its last checkpoint, None anew.

    What it wrote before its first checkpoint is renamed to broken-1-..., broken-2-...; nothing is deleted.
    """
    if (place / "checkpoints" / "last.ckpt").is_file():
        return "auto"
    for name in ("metrics.csv", "checkpoints"):
        if (place / name).exists():
            (place / name).rename(next_free(place, f"broken-{{}}-{name}"))
    return None
