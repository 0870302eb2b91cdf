"""One training of a job that has several: whether it is finished, and how it goes on where it was broken off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from knowledge_distillation.training.places import next_free


def finished(place: Path) -> Mapping[str, float] | None:
    """The scores of a training that ran to its end in this directory, or None."""
    environment = place / "environment.json"
    if not environment.is_file() or not (place / "student.safetensors").is_file():
        return None
    facts = json.loads(environment.read_text(encoding="utf-8"))
    scores: Mapping[str, float] = facts["scores"]
    return None if facts["interrupted"] else scores


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
