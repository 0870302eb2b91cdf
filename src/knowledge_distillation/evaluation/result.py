"""The result of an evaluation: plain data, and the samples that got worse."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knowledge_distillation.capture.description import table
from knowledge_distillation.evaluation.samples import Sample, shown_as

FILE = "evaluation.json"
FOLDER = "samples"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured. Every part is plain data without NaN: what could not be had is None, and a note says so.

    Attributes:
        data: {"items", "samples", "labelled", "loader", "task"}.
        models: name -> {"quality", "also", "cost", "calibration", "per_class", "confusion", "robustness", "loaders"}.
        fidelity: name -> {"agreement", "kl", "top_k_overlap", "mse", "cka", "items", "how"}, each against the teacher.
        regressions: {"against", "student", "metric", "per_class", "per_slice", "worse", "counts"}, or None without a
            student, labels, or anyone to hold it against.
        notes: what could not be measured, or had to be guessed.
        samples: what the items under "worse" look like, in their order.
    """

    data: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    fidelity: Mapping[str, Mapping[str, Any]]
    regressions: Mapping[str, Any] | None
    notes: Sequence[str]
    samples: Sequence[Sample | None] = field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON. Texts stand in "worse" as they are, pictures and sounds as files that `save` writes."""
        plain: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "data": self.data,
                    "models": self.models,
                    "fidelity": self.fidelity,
                    "regressions": self.regressions,
                    "notes": list(self.notes),
                },
                allow_nan=False,
            )
        )
        for place, sample in enumerate(self.samples):
            file = None if sample is None else f"{FOLDER}/{_stem(place)}{_SUFFIX[sample.kind]}"
            plain["regressions"]["worse"][place]["sample"] = shown_as(sample, file)
        return plain

    def save(self, directory: str | Path) -> Path:
        """Write evaluation.json, and pictures and sounds under samples/; return the JSON file."""
        home = Path(directory)
        home.mkdir(parents=True, exist_ok=True)
        for place, sample in enumerate(self.samples):
            if sample is not None and sample.kind != "text":
                (home / FOLDER).mkdir(exist_ok=True)
                sample.write(home / FOLDER / _stem(place))
        path = home / FILE
        path.write_text(json.dumps(self.as_dict(), indent=2, allow_nan=False), encoding="utf-8")
        return path

    def __str__(self) -> str:
        rows = []
        for name, found in self.models.items():
            cost, quality = found["cost"] or {}, found["quality"]
            fast = next(iter((cost.get("latency") or {}).values()), None)
            calibration = found["calibration"] or {}
            faithful = self.fidelity.get(name, {})
            figures = (
                quality["value"],
                cost.get("parameters"),
                cost.get("file_bytes"),
                cost.get("flops"),
                fast and fast["p50_ms"],
                calibration.get("ece"),
                faithful.get("agreement"),
            )
            rows.append((name, *map(_figure, figures)))
        metric = next(iter(self.models.values()))["quality"]["metric"] or "quality"
        head = ("model", metric, "parameters", "file bytes", "FLOPs", "p50 ms", "ECE", "agreement")
        return "\n".join([table(head, rows), *(f"note: {note}" for note in self.notes)])


_SUFFIX = {"picture": ".png", "sound": ".wav", "text": ".txt"}


def _stem(place: int) -> str:
    return f"worse-{place:02d}"


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def without_nan(value: Any, where: str, notes: list[str]) -> Any:
    """Plain data in which None stands for NaN and infinity, with a note for each place.

    Args:
        value: numbers, texts and None in any nesting of mappings and sequences.
        where: what it is, for the notes.
        notes: gets them.
    """
    if isinstance(value, Mapping):
        return {
            str(key): without_nan(entry, f"{where}, {key}" if where else str(key), notes)
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [without_nan(entry, where, notes) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        note = f"{where}: {'not a number' if math.isnan(value) else 'infinite'}, so left out."
        if note not in notes:
            notes.append(note)
        return None
    return value
