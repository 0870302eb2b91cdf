"""Whether distillation helped: the headline, at equal steps and at equal time, with intervals and pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from knowledge_distillation.reporting.blocks import Plot, Tone, Verdict
from knowledge_distillation.reporting.figures import change, is_share, number, score
from knowledge_distillation.reporting.plots.intervals import Interval, interval_plot, pairs_plot
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.commands import command
from knowledge_distillation.reporting.sections.models import models_of, part, quality_of

TONES: Mapping[str, Tone] = {"helped": "good", "hurt": "bad", "no evidence": "unsure"}
HEADLINES: Mapping[Tone, str] = {
    "good": "Distillation helped: {}",
    "bad": "Distillation hurt: {}",
    "unsure": "No evidence that distillation helped: {}",
}


def verdict_of(files: RunFiles) -> Verdict:
    """What comparison.json says; where there is none, that nobody asked and how to."""
    comparison = compared(files)
    difference = number(comparison.get("difference"))
    if difference is None:
        return Verdict(
            "none",
            "Whether distillation helped was not asked",
            "The same student trained without the teacher, from the same start and on the same data, would tell.",
            command(files, "compare"),
        )
    tone = TONES.get(str(comparison.get("verdict")), "unsure")
    share = _is_share(files, comparison)
    unit = "points" if share else str(comparison.get("metric") or "of the score")

    def text(value: Any) -> str:
        return change(value, share)

    seeds = len(scores_of(comparison, "with_teacher"))
    detail = f"{_interval(comparison, text)}, {seeds} seeds, paired, at equal steps."
    intervals = [_as_interval("equal steps", comparison)]
    bootstrap = _bootstrap(comparison)
    if bootstrap:
        intervals.append(_as_interval("equal steps, bootstrap", {**bootstrap, "difference": difference}))
    timed = part(comparison, "equal_time")
    if number(timed.get("difference")) is not None:
        detail += (
            f" At equal time: {text(timed['difference'])} {unit} ({_interval(timed, text)}): {timed.get('verdict')}."
        )
        intervals.append(_as_interval("equal time", timed))
    if unit == "points":
        detail += f" A point is 0.01 of {comparison.get('metric') or 'the score'}."
    for name, arm in arms_of(comparison).items():
        intervals.append(_as_interval(name, arm))
    drawn = [interval for interval in intervals if interval is not None]
    plots: list[Plot] = []
    if drawn:
        scale = 100.0 if share else 1.0
        shown = [Interval(i.name, scale * i.mean, scale * i.low, scale * i.high) for i in drawn]
        plots.append(
            interval_plot("What the teacher was worth", shown, unit=unit, text=lambda value: text(value / scale))
        )
    pairs = _pairs(comparison, share)
    if pairs:
        plots.append(pairs)
    return Verdict(
        tone,
        HEADLINES[tone].format(f"{text(difference)} {unit}"),
        detail,
        figures=comparison,
        plots=plots,
    )


def compared(files: RunFiles) -> Mapping[str, Any]:
    """The comparison; where a demo wrote it, it lies one level deeper."""
    found = files.comparison or {}
    return part(found, "comparison") or found


def scores_of(comparison: Mapping[str, Any], arm: str) -> list[float]:
    """The scores of an arm, if every one is a number."""
    given = comparison.get(arm)
    found = [number(value) for value in given] if isinstance(given, list) else []
    return [value for value in found if value is not None] if None not in found else []


def arms_of(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Other arms than the plain control, by name."""
    return {str(name): arm for name, arm in part(comparison, "others").items() if isinstance(arm, Mapping)}


def _is_share(files: RunFiles, comparison: Mapping[str, Any]) -> bool:
    """By the metric's own name; a loader's name such as "test" says nothing, then the evaluation's metric counts."""
    values = [*scores_of(comparison, "with_teacher"), *scores_of(comparison, "without_teacher")]
    names = [str(comparison.get("metric")), *(quality_of(entry)[0] for entry in models_of(files).values())]
    return any(is_share(name, *values) for name in names)


def _interval(entry: Mapping[str, Any], text: Callable[[Any], str]) -> str:
    return f"95% interval {text(entry.get('low'))} to {text(entry.get('high'))}"


def _as_interval(name: str, entry: Mapping[str, Any]) -> Interval | None:
    mean, low, high = (number(entry.get(key)) for key in ("difference", "low", "high"))
    return None if mean is None or low is None or high is None else Interval(name, mean, low, high)


def _bootstrap(comparison: Mapping[str, Any]) -> Mapping[str, Any]:
    found = comparison.get("bootstrap")
    if isinstance(found, list) and len(found) == 2:
        return {"low": found[0], "high": found[1]}
    return part(comparison, "bootstrap")


def _pairs(comparison: Mapping[str, Any], share: bool) -> Plot | None:
    taught, alone = scores_of(comparison, "with_teacher"), scores_of(comparison, "without_teacher")
    if not taught or len(taught) != len(alone):
        return None
    seeds = comparison.get("seeds")
    named = seeds if isinstance(seeds, list) and len(seeds) == len(taught) else list(range(1, len(taught) + 1))
    metric = str(comparison.get("metric") or "score")

    def text(value: float) -> str:
        return f"{100 * value:.1f}%" if share else score(metric, value)

    arms = [("with teacher", "c-student", taught), ("without teacher", "c-control", alone)]
    return pairs_plot(f"{metric}, pair by pair", named, arms, text)
