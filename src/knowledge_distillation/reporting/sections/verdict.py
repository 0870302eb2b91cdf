"""Whether distillation helped: the headline, at equal steps and at equal time, with intervals and pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from knowledge_distillation.reporting.blocks import Plot, Tone, Verdict
from knowledge_distillation.reporting.figures import change, count, is_share, milliseconds, number, score
from knowledge_distillation.reporting.plots.intervals import Interval, interval_plot, pairs_plot
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.commands import command
from knowledge_distillation.reporting.sections.evaluated import models_of, notes_of, part, quality_of

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

    taught = scores_of(comparison, "with_teacher")
    detail = f"{_interval(comparison, text)}, {len(taught)} paired seeds, against {_control(comparison)}."
    intervals = [_as_interval("equal steps", comparison), _bootstrap(comparison)]
    timed = part(comparison, "at_equal_time")
    if number(timed.get("difference")) is not None:
        same = f"{text(timed['difference'])} {unit} ({_interval(timed, text)})"
        detail += f" At equal time: {timed.get('verdict')}, {same}."
        intervals.append(_as_interval("equal time", timed))
    intervals += [_as_interval(str(name), arm) for name, arm in part(comparison, "arms").items()]
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
        notes=[*_budgets(comparison), *notes_of(comparison)],
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


def _control(comparison: Mapping[str, Any]) -> str:
    control = comparison.get("control")
    known = isinstance(control, str) and control
    return str(control) if known else "the same student without the teacher, at equal steps"


def _budgets(comparison: Mapping[str, Any]) -> list[str]:
    """What each training took."""
    said = []
    for name, entry in (("equal steps", comparison), ("equal time", part(comparison, "at_equal_time"))):
        steps, seconds = part(entry, "steps"), part(entry, "seconds")
        arms = [
            f"{count(steps.get(arm))} steps"
            + (f" in {milliseconds(1e3 * took)}" if (took := number(seconds.get(arm))) is not None else "")
            + f" {arm.replace('_', ' ')}"
            for arm in ("with_teacher", "without_teacher")
            if number(steps.get(arm)) is not None
        ]
        if arms:
            said.append(f"At {name}: {', '.join(arms)}.")
    return said


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


def _bootstrap(comparison: Mapping[str, Any]) -> Interval | None:
    ends = {"low": comparison.get("bootstrap_low"), "high": comparison.get("bootstrap_high")}
    return _as_interval("equal steps, bootstrap", {**comparison, **ends})


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
    said = f"Better with teacher in {_won(comparison, taught, alone)} of {len(taught)} pairs."
    return pairs_plot(f"{metric}, pair by pair", named, arms, text, description=said)


def _won(comparison: Mapping[str, Any], taught: Sequence[float], alone: Sequence[float]) -> int:
    """Pairs in which the teacher was of use; a difference above zero is a gain even where lower scores are better."""
    raw = [first - second for first, second in zip(taught, alone, strict=True)]
    falling = (number(comparison.get("difference")) or 0.0) * sum(raw) < 0
    return sum(value < 0 if falling else value > 0 for value in raw)
