"""Is the artefact still the student? Differences of outputs on real batches, and the tolerance they must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an artefact may be from its student. None asks for nothing.

    Attributes:
        relative: largest difference of any output value, as a share of that output's largest value; must hold.
        agreement: share of items whose highest class is the same, 0 to 1; asked of classes only. This or `score_drop`
            must hold.
        score_drop: loss of task score, in the score's unit below 1 (0.01 is one point of accuracy), as a share of the
            score above.
        mean_relative: mean difference as a share of the mean absolute output; holds where there are neither classes
            nor scores.
    """

    relative: float | None = None
    agreement: float | None = None
    score_drop: float | None = None
    mean_relative: float | None = None


def as_tolerance(given: Any, default: Tolerance) -> Tolerance:
    """What the user asked for: None for the form's own, a number for `relative`, a mapping, or a `Tolerance`.

    Raises:
        ConfigError: if it is none of these, or a value is negative.
    """
    if given is None or isinstance(given, Tolerance):
        return given or default
    if isinstance(given, Mapping):
        known = [entry.name for entry in fields(Tolerance)]
        for key in given:
            if key not in known:
                raise ConfigError(f"tolerance has no {key!r}. {nearest(str(key), known)}")
        given = dict(given)
    else:
        given = {"relative": given}
    for key, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
            raise ConfigError(f"tolerance: {key} must be a number >= 0, got {value!r}.")
    return Tolerance(**given)


class Differences:
    """Differences between the student's outputs and the artefact's, gathered over batches."""

    def __init__(self) -> None:
        self.outputs: dict[str, dict[str, float]] = {}
        self.agreeing = self.items = self.batches = 0
        self.sizes: set[int] = set()
        self.odd: list[str] = []

    def add(
        self,
        student: Mapping[str, Tensor],
        artefact: Mapping[str, Tensor],
        *,
        mask: Tensor | None,
        rows: int,
        classes: bool = True,
    ) -> None:
        """Take in one batch.

        Args:
            student: its outputs by name.
            artefact: the same of the artefact, in any floating type.
            mask: items of the logits that count; shape of the logits without their last axis, or None for all.
            rows: items of the batch.
            classes: whether logits are scores of classes; of an embedding or a regression the highest says nothing.
        """
        self.batches += 1
        self.sizes.add(rows)
        for name, expected in student.items():
            self._compare(name, expected, artefact[name])
        logits, given = student.get("logits"), artefact.get("logits")
        if not classes or logits is None or given is None or logits.shape != given.shape or not _has_classes(logits):
            return
        axis = 1 if logits.dim() == 4 else -1
        same = logits.argmax(axis) == given.argmax(axis)
        if mask is not None and mask.shape == same.shape:
            same = same[mask.bool()]
        self.agreeing += int(same.sum())
        self.items += same.numel()

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for the manifest."""
        outputs = {
            name: {
                "max_abs": entry["max"],
                "mean_abs": entry["sum"] / max(entry["count"], 1),
                "max_relative": _share(entry["max"], entry["largest"]),
                "mean_relative": _share(entry["sum"], entry["total"]),
            }
            for name, entry in self.outputs.items()
        }
        worst = {key: max((entry[key] for entry in outputs.values()), default=0.0) for key in _MEASURES}
        return {
            **worst,
            "outputs": outputs,
            "agreement": self.agreeing / self.items if self.items else None,
            "items": self.items,
            "batches": self.batches,
            "batch_sizes": sorted(self.sizes),
        }

    def _compare(self, name: str, expected: Tensor, given: Tensor) -> None:
        if expected.shape != given.shape:
            self.odd.append(f"{name} has shape {tuple(given.shape)}, the student's {tuple(expected.shape)}")
            return
        expected, given = expected.double(), given.double()
        finite = torch.isfinite(expected)
        if not torch.equal(finite, torch.isfinite(given)):
            self.odd.append(f"{name} is infinite or NaN in other places than the student's")
            return
        expected, given = expected[finite], given[finite]
        entry = self.outputs.setdefault(name, {"max": 0.0, "sum": 0.0, "largest": 0.0, "total": 0.0, "count": 0})
        if expected.numel() == 0:
            return
        difference = (expected - given).abs()
        entry["max"] = max(entry["max"], float(difference.max()))
        entry["largest"] = max(entry["largest"], float(expected.abs().max()))
        entry["sum"] += float(difference.sum())
        entry["total"] += float(expected.abs().sum())
        entry["count"] += expected.numel()


_MEASURES = ("max_abs", "mean_abs", "max_relative", "mean_relative")


def faults(numbers: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    """What is beyond the tolerance, in words; empty where all holds.

    Args:
        numbers: of `Differences.as_dict`, with "score" None or {"student", "artefact", "drop"}.
        tolerance: to keep.
    """
    found = []
    if tolerance.relative is not None:
        for name, entry in numbers["outputs"].items():
            if not entry["max_relative"] <= tolerance.relative:
                found.append(
                    f"{name} differs by {entry['max_relative']:.3g} of its largest value, {tolerance.relative:.3g} is "
                    "allowed"
                )
    loose = _loose_faults(numbers, tolerance)
    return found + (loose or [])


def _loose_faults(numbers: Mapping[str, Any], tolerance: Tolerance) -> list[str] | None:
    """None as soon as one of agreement and score holds."""
    found = []
    score, agreement = numbers.get("score"), numbers["agreement"]
    if score is not None and tolerance.score_drop is not None:
        allowed = tolerance.score_drop * max(1.0, abs(score["student"]))
        if score["drop"] <= allowed:
            return None
        found.append(f"the score falls from {score['student']:.4f} to {score['artefact']:.4f}, {allowed:.3g} allowed")
    if agreement is not None and tolerance.agreement is not None:
        if agreement >= tolerance.agreement:
            return None
        found.append(f"the highest class agrees on {agreement:.2%} of the items, {tolerance.agreement:.2%} asked")
    if not found and tolerance.mean_relative is not None and not numbers["mean_relative"] <= tolerance.mean_relative:
        found.append(
            f"outputs differ by {numbers['mean_relative']:.3g} of their mean size, {tolerance.mean_relative:.3g} is "
            "allowed"
        )
    return found


def tolerance_as_dict(tolerance: Tolerance) -> dict[str, float]:
    """Only what is asked for."""
    return {name: value for name, value in asdict(tolerance).items() if value is not None}


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else part


def _has_classes(logits: Tensor) -> bool:
    return logits.dim() >= 2 and logits.shape[1 if logits.dim() == 4 else -1] > 1 and logits.is_floating_point()
