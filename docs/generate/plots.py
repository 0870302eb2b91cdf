"""Draw the plots of the results page from `docs/results/*.json`: `python -m docs.generate.plots`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from docs.generate.measured import ARMS, PAIRS, result

IMAGES = Path(__file__).parent.parent / "images"
WIDTH, LEFT, RIGHT, ROW = 760, 300, 130, 30
INK, FAINT, OURS, OTHERS, SECOND = "#3b4252", "#b9c0cc", "#2f855a", "#8b95a7", "#c05621"


def online_peers(found: Mapping[str, Any]) -> str:
    """A panel for each pair of models, a bar for each arm: its time over ours."""
    parts: list[str] = []
    top = 24.0
    for name, pair in found["pairs"].items():
        ratios: dict[str, float] = pair["ratio_of_all_arms"]
        most = max(ratios.values())
        parts.append(text(24, top + 16, f"{PAIRS[name]}: time of a step over this toolkit's", size=17, bold=True))
        top += 34
        arms = [arm for arm in ARMS if arm in ratios]
        rows = [
            (
                ARMS[arm].replace("`", ""),
                ratios[arm],
                pair["milliseconds_a_step"][arm]["median"],
                arm.startswith("toolkit"),
            )
            for arm in arms
        ]
        drawn, top = bars(rows, top, most)
        parts += drawn
        top += 30
    return svg(parts, top)


def cached_teacher(found: Mapping[str, Any]) -> str:
    """A bar for each arm: its time over that of labels only."""
    names = {"labels": "labels only", "cached": "cached teacher", "online": "live teacher"}
    ratios = {"labels": 1.0, "cached": found["ratio"], "online": found["ratio_online"]}
    times = {arm: found["milliseconds_a_step"][arm]["median"] for arm in names}
    parts = [text(24, 40, "ResNet-56 to ResNet-20: time of a step over that with labels only", size=17, bold=True)]
    rows = [(names[arm], ratios[arm], times[arm], arm == "cached") for arm in names]
    drawn, top = bars(rows, 58, max(ratios.values()))
    return svg([*parts, *drawn], top + 20)


def cache_io(found: Mapping[str, Any]) -> str:
    """A dot for each encoding: bytes a token to the right, what is lost upwards."""
    left, right, top, bottom = 80.0, 730.0, 70.0, 330.0
    kept = {name: (found["bytes_per_token"][name], kl) for name, kl in found["kl"].items() if kl}
    low, high = (edge(math.log10(kl) for _, kl in kept.values()) for edge in (min, max))
    low, high = math.floor(low), math.ceil(high)

    def x(size: float) -> float:
        return left + (math.log10(size) - 1.0) / 4.7 * (right - left)

    def y(kl: float) -> float:
        return bottom - (math.log10(kl) - low) / (high - low) * (bottom - top)

    title = f"What an encoding loses: nats a token, {found['classes']:,} classes"
    parts = [text(24, 36, title, size=17, bold=True)]
    for power in range(low, high + 1):
        parts.append(line(left, y(10**power), right, y(10**power), FAINT))
        parts.append(text(left - 10, y(10**power) + 4, f"1e{power}", anchor="end"))
    for size in (100, 1_000, 10_000, 100_000):
        parts.append(text(x(size), bottom + 22, f"{size:,} B", anchor="middle"))
    parts.append(text((left + right) / 2, bottom + 44, "bytes a token", anchor="middle"))
    for name, (size, kl) in kept.items():
        above = -12 if name.startswith(("fit", "top_k")) else 18
        parts += dots([(x(size), y(kl))], OTHERS if name.startswith("fit") else OURS)
        anchor = "end" if size > 10_000 or name.startswith("fit") else "start"
        parts.append(text(x(size) - 4, y(kl) + above, name, anchor=anchor))
    return svg(parts, bottom + 60)


def bars(rows: Sequence[tuple[str, float, float, bool]], top: float, most: float) -> tuple[list[str], float]:
    """A bar for each row of name, ratio, milliseconds and whether it is ours; and where the next thing may begin."""
    parts = []
    one = LEFT + (WIDTH - LEFT - RIGHT) / most
    parts.append(line(one, top, one, top + ROW * len(rows), INK, dashed=True))
    for name, ratio, milliseconds, ours in rows:
        width = ratio / most * (WIDTH - LEFT - RIGHT)
        parts.append(text(LEFT - 12, top + 18, name, anchor="end"))
        colour = OURS if ours else OTHERS
        parts.append(f'<rect x="{LEFT}" y="{top + 4:.1f}" width="{width:.1f}" height="20" fill="{colour}"/>')
        parts.append(text(WIDTH - RIGHT + 12, top + 18, f"{ratio:.3g} ({milliseconds:.3g} ms)"))
        top += ROW
    return parts, top


def early_exit(found: Mapping[str, Any]) -> str:
    """A dot for each layer: its share of the forward to the right, its time over that share upwards."""
    left, right, top, bottom = 80.0, 730.0, 70.0, 330.0
    points: dict[str, list[tuple[float, float]]] = {
        name: [(teacher["share_by_layer"][layer], ratio) for layer, ratio in teacher["ratio_by_layer"].items()]
        for name, teacher in found["teachers"].items()
    }
    every = [ratio for some in points.values() for _, ratio in some]
    low, high = min(0.9, *every) - 0.02, max(1.1, *every) + 0.02

    def y(ratio: float) -> float:
        return bottom - (ratio - low) / (high - low) * (bottom - top)

    def x(share: float) -> float:
        return left + share * (right - left)

    parts = [text(24, 36, "A tapped teacher's time over its layer's share of the forward", size=17, bold=True)]
    for mark in (0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2):
        if low <= mark <= high:
            parts.append(line(left, y(mark), right, y(mark), SECOND if mark == 1.05 else FAINT, dashed=mark == 1.05))
            parts.append(text(left - 10, y(mark) + 4, f"{mark:.2f}", anchor="end"))
    parts += [text(x(share / 4), bottom + 22, f"{25 * share}%", anchor="middle") for share in range(5)]
    parts.append(text((left + right) / 2, bottom + 44, "share of the forward up to the layer", anchor="middle"))
    names = {"transformer": "equal transformer layers", "cifar_resnet": "blocks of a CIFAR ResNet"}
    for place, (name, colour) in enumerate((("transformer", OURS), ("cifar_resnet", INK))):
        parts += dots(((x(share), y(ratio)) for share, ratio in points[name]), colour)
        parts += dots([(left + 8 + 220 * place, bottom + 70)], colour)
        parts.append(text(left + 20 + 220 * place, bottom + 75, names[name]))
    return svg(parts, bottom + 96)


def embeddings(found: Mapping[str, Any]) -> str:
    """A dot for each model: milliseconds for one text to the right, on a logarithmic scale, agreement upwards."""
    left, right, top, bottom = 80.0, 730.0, 70.0, 330.0
    rows = found["rows"]
    slowest, fastest = (pick(row["ms_for_one"] for row in rows) for pick in (max, min))
    decades = range(math.floor(math.log10(fastest)), math.ceil(math.log10(slowest)) + 1)
    low = math.floor(10 * min(row["mixed"] for row in rows)) / 10

    def x(milliseconds: float) -> float:
        return left + (math.log10(milliseconds) - decades[0]) / (decades[-1] - decades[0]) * (right - left)

    def y(agreement: float) -> float:
        return bottom - (agreement - low) / (1 - low) * (bottom - top)

    parts = [text(24, 36, "Agreement with the teacher, and how long one text takes", size=17, bold=True)]
    parts += levels(low, 0.1, y, left, right)
    parts += [text(x(10.0**decade), bottom + 22, f"{10.0**decade:g} ms", anchor="middle") for decade in decades]
    parts.append(text((left + right) / 2, bottom + 44, "one text, tokenising included", anchor="middle"))
    for number, row in enumerate(rows):
        place = (x(row["ms_for_one"]), y(row["mixed"]))
        parts += dots([place], OURS if row is not rows[0] else INK)
        said = f"{row['model']}: {row['texts_a_second']:,.0f} texts a second"
        beyond = place[0] > (left + right) / 2
        aside, below = -10 if beyond else 10, -12 if number % 2 else 18  # neighbours are named on either side
        parts.append(text(place[0] + aside, place[1] + below, said, anchor="end" if beyond else "start"))
    return svg(parts, bottom + 64)


def embedding_curve(found: Mapping[str, Any]) -> str:
    """A line for each kind of pairs: steps of training to the right, on a logarithmic scale, agreement upwards."""
    left, right, top, bottom = 80.0, 730.0, 70.0, 330.0
    trained = [(int(row["model"].removeprefix("steps-")), row) for row in found["rows"] if "steps-" in row["model"]]
    fewest, most = (math.log2(pick(steps for steps, _ in trained)) for pick in (min, max))
    low = math.floor(20 * min(row["random"] for _, row in trained)) / 20

    def y(agreement: float) -> float:
        return bottom - (agreement - low) / (1 - low) * (bottom - top)

    parts = [text(24, 36, "Agreement with the teacher by steps of training", size=17, bold=True)]
    parts += levels(low, 0.05, y, left, right)
    across = {steps: left + (math.log2(steps) - fewest) / (most - fewest) * (right - left) for steps, _ in trained}
    parts += [text(x, bottom + 22, f"{steps}", anchor="middle") for steps, x in across.items()]
    for kind, colour in (("mixed", OURS), ("random", INK)):
        places = [(across[steps], y(row[kind])) for steps, row in trained]
        parts += [line(*one, *other, colour) for one, other in pairwise(places)]
        parts += dots(places, colour)
        parts.append(text(places[0][0] + 10, places[0][1] - 14, f"{kind} pairs"))
    parts.append(text((left + right) / 2, bottom + 44, "steps of 128 texts", anchor="middle"))
    return svg(parts, bottom + 64)


def levels(low: float, apart: float, y: Callable[[float], float], left: float, right: float) -> list[str]:
    """A line across for every level of agreement from the lowest to 1, with its number on the left."""
    parts = []
    for level in (low + apart * step for step in range(round((1 - low) / apart) + 1)):
        parts.append(line(left, y(level), right, y(level), FAINT))
        parts.append(text(left - 10, y(level) + 4, f"{level:.2f}", anchor="end"))
    return parts


def dots(places: Iterable[tuple[float, float]], colour: str) -> list[str]:
    """A circle at each place."""
    return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}" opacity="0.75"/>' for x, y in places]


def line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> str:
    """A thin line."""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="1"{dash}/>'


def text(x: float, y: float, said: str, *, size: int = 13, bold: bool = False, anchor: str = "start") -> str:
    """Words at a place."""
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text {place}{weight}>{escape(said, quote=False)}</text>"


def svg(parts: Sequence[str], height: float) -> str:
    """The whole picture, on white."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" '
        f'fill="{INK}">\n<rect width="{WIDTH}" height="{height:.0f}" rx="8" fill="#ffffff"/>'
    )
    return "\n".join([head, *parts, "</svg>", ""])


PLOTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "online_peers": online_peers,
    "early_exit": early_exit,
    "cached_teacher": cached_teacher,
    "cache_io": cache_io,
    "embeddings": embeddings,
    "embedding_curve": embedding_curve,
}

if __name__ == "__main__":
    for name, draw in PLOTS.items():
        measured = result(name)
        if "skipped" not in measured:
            (IMAGES / f"{name}.svg").write_text(draw(measured), encoding="utf-8")
