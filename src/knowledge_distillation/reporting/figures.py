"""Figures as people read them: percent and points for shares, KiB and MiB, milliseconds, and what is not there."""

from __future__ import annotations

import re
from typing import Any

from knowledge_distillation.accepted import is_finite_number

ABSENT = "\u2013"
SHARES = (
    "accuracy", "acc", "top", "f1", "precision", "recall", "auc", "auroc", "iou", "miou", "map", "ap", "em", "match",
    "agreement", "wer", "cer", "right", "bleu", "rouge", "ndcg", "mrr",
)  # fmt: skip
"""Words in a metric's name whose values from 0 to 1 are read as percent."""


def number(value: Any) -> float | None:
    """The finite number in a JSON value, else None."""
    if not is_finite_number(value):
        return None
    return float(value)


def is_share(metric: str, *values: float | None) -> bool:
    """Whether a metric's values are shares from 0 to 1, by its name and by the values at hand."""
    words = re.split(r"[^a-z0-9]+", metric.lower())
    named = any(word in SHARES or word.rstrip("0123456789") in SHARES for word in words)
    return named and all(value is None or 0 <= value <= 1 for value in values)


def score(metric: str, value: Any) -> str:
    """A metric's value: 97.40% for a share, else four digits."""
    found = number(value)
    if found is None:
        return ABSENT
    return f"{100 * found:.2f}%" if is_share(metric, found) else plain(found)


def change(value: Any, share: bool) -> str:
    """A difference with its sign: in points for a share, else in the metric's own unit."""
    found = number(value)
    if found is None:
        return ABSENT
    return f"{100 * found:+.1f}".replace("-", "\u2212") if share else f"{found:+.4g}".replace("-", "\u2212")


def plain(value: Any) -> str:
    """Four significant digits, without an exponent where it reads well without."""
    found = number(value)
    if found is None:
        return ABSENT
    if found != 0 and not 1e-4 <= abs(found) < 1e7:
        return f"{found:.2e}"
    text = f"{found:,.{max(0, 4 - len(str(int(abs(found)))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text and abs(found) >= 0.01 else f"{found:.4g}"


def count(value: Any) -> str:
    """A whole number with thousands set apart."""
    found = number(value)
    return ABSENT if found is None else f"{round(found):,}"


def large(value: Any) -> str:
    """A large count in thousands, millions or billions."""
    found = number(value)
    if found is None:
        return ABSENT
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(found) >= size:
            return f"{found / size:.3g}{unit}"
    return f"{found:.0f}"


def size(value: Any) -> str:
    """Bytes in B, KiB, MiB or GiB."""
    found = number(value)
    if found is None:
        return ABSENT
    for step, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if found >= step:
            return f"{found / step:.1f} {unit}"
    return f"{found:.0f} B"


def milliseconds(value: Any) -> str:
    """A time given in milliseconds."""
    found = number(value)
    if found is None:
        return ABSENT
    return f"{_three(found / 1e3)} s" if found >= 1e3 else f"{_three(found)} ms"


def _three(value: float) -> str:
    """Three significant digits, zeros at the end kept."""
    return "0" if value == 0 else f"{value:#.3g}".removesuffix(".") if 1e-4 <= value < 1e3 else f"{value:.3g}"


def times(value: float) -> str:
    """A ratio such as 10.3×."""
    return f"{value:.0f}\u00d7" if value >= 100 else f"{value:.1f}\u00d7"


def ratio(of: Any, to: Any) -> float | None:
    """of / to where both are numbers above 0, else None."""
    above, below = number(of), number(to)
    return None if above is None or below is None or above <= 0 or below <= 0 else above / below


def short(value: Any, length: int = 60) -> str:
    """Any plain value as one line of text, cut where it is too long."""
    text = value if isinstance(value, str) else ABSENT if value is None else str(value)
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
