"""What changed for each class: bars to the left for losses, to the right for gains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from knowledge_distillation.reporting.blocks import Plot, Table
from knowledge_distillation.reporting.plots.scales import scale_for
from knowledge_distillation.reporting.plots.svg import WIDTH, cut, element, rule, words

ROW, NAMES = 22, 96.0


def change_plot(
    title: str,
    changes: Sequence[tuple[str, float]],
    table: Table,
    *,
    unit: str,
    text: Callable[[float], str],
    better: int = 1,
) -> Plot:
    """Draw a bar for each (name, change).

    Args:
        title: of the picture.
        changes: at least one.
        table: all of the figures.
        unit: of a change.
        text: writes a change.
        better: 1 where a positive change is better, -1 where a negative one is.
    """
    across = scale_for([0.0, *(change for _, change in changes)], NAMES + 42, WIDTH - 44)
    bottom = 10.0 + ROW * len(changes)
    parts = []
    for place, (name, change) in enumerate(changes):
        y = 10.0 + ROW * place
        left, right = sorted((across(0), across(change)))
        kind = "good" if better * change > 0 else "bad"
        parts.append(words(NAMES, y + 15, cut(name, NAMES), anchor="end", kind="label"))
        parts.append(
            element("rect", x=left, y=y + 4, width=max(right - left, 0.5), height=ROW - 8, class_=f"change {kind}")
        )
        at, anchor = (right + 5, "start") if change >= 0 else (left - 5, "end")
        parts.append(words(at, y + 15, text(change), anchor=anchor))
    parts.append(rule(across(0), 6, across(0), bottom, "axis"))
    parts.append(words(WIDTH / 2, bottom + 18, f"student against teacher, {unit}", anchor="middle", kind="axis-name"))
    worst = min(changes, key=lambda entry: better * entry[1])
    return Plot(
        title=title,
        description=f"The largest loss is at {worst[0]}: {text(worst[1])} {unit}."
        if better * worst[1] < 0
        else "Nothing got worse.",
        width=WIDTH,
        height=int(bottom + 26),
        body="".join(parts),
        table=table,
    )
