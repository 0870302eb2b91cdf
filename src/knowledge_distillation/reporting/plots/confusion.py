"""Which class is taken for which: a square of cells, the darker the more often."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from knowledge_distillation.reporting.blocks import Cell, Plot, Table
from knowledge_distillation.reporting.figures import count
from knowledge_distillation.reporting.plots.svg import WIDTH, cut, element, words

LEFT, TOP = 78.0, 18.0
NUMBERS_UP_TO = 12
MOST_CLASSES = 30


def confusion_plot(title: str, matrix: Sequence[Sequence[float]], names: Sequence[str]) -> Plot:
    """Draw a confusion matrix: rows are true classes, columns what the model said.

    Args:
        title: of the picture.
        matrix: counts, classes x classes, at most MOST_CLASSES.
        names: of the classes.
    """
    size = (WIDTH - LEFT - 6) / len(names)
    shown = min(size, 40.0)
    parts = [words(LEFT, 11, "predicted", kind="axis-name"), words(4, TOP + 10, "true", kind="axis-name")]
    every = max(1, round(13 / shown))
    for row, counts in enumerate(matrix):
        total = sum(counts) or 1
        y = TOP + row * shown
        if row % every == 0:
            parts.append(
                words(LEFT - 6, y + shown / 2 + 4, cut(names[row], LEFT - 34 if row == 0 else LEFT - 8), anchor="end")
            )
        for column, found in enumerate(counts):
            share = found / total
            kind = "right" if row == column else "wrong"
            tip = element("title", f"{escape(names[row])} as {escape(names[column])}: {count(found)}")
            strength = round(share**0.5, 3)
            x = LEFT + column * shown
            parts.append(element("rect", x=x, y=y, width=shown - 1, height=shown - 1, class_="cell"))
            if found:
                parts.append(
                    element(
                        "rect",
                        tip,
                        x=x,
                        y=y,
                        width=shown - 1,
                        height=shown - 1,
                        class_=f"cell {kind}",
                        style=f"--s:{strength}",
                    )
                )
            if found and len(names) <= NUMBERS_UP_TO and size >= 22:
                middle = x + shown / 2 - 0.5
                parts.append(words(middle, y + shown / 2 + 3.5, count(found), anchor="middle", kind="in-cell"))
    bottom = TOP + shown * len(names)
    for column, name in enumerate(names):
        if column % every == 0:
            x = LEFT + (column + 0.5) * shown
            turned = element(
                "text",
                escape(cut(name, 66)),
                x=x,
                y=bottom + 10,
                class_="tick",
                text_anchor="end",
                transform=f"rotate(-45 {x:.1f} {bottom + 10:.1f})",
            )
            straight = words(x, bottom + 13, name, anchor="middle")
            parts.append(straight if max(map(len, names)) * 6.1 < shown * every else turned)
    long = max(map(len, names)) * 6.1 >= shown * every
    wrong = [
        (matrix[row][column], names[row], names[column])
        for row in range(len(names))
        for column in range(len(names))
        if row != column and matrix[row][column]
    ]
    most = max(wrong, default=None)
    rows = [[Cell(name, name), *(Cell(found, count(found)) for found in matrix[row])] for row, name in enumerate(names)]
    return Plot(
        title=title,
        description=f"Most often wrong: {most[1]} taken for {most[2]}, {_times(most[0])}."
        if most
        else "Nothing is taken for anything else.",
        width=WIDTH,
        height=int(bottom + (18 + 4.4 * min(11, max(map(len, names))) if long else 20)),
        body="".join(parts),
        table=Table(title, ["true", *names], rows),
    )


def _times(found: float) -> str:
    return "once" if found == 1 else f"{count(found)} times"
