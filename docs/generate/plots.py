"""Draw the plots of the results page from `docs/results/*.json`: `python -m docs.generate.plots`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
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
        one = LEFT + (WIDTH - LEFT - RIGHT) / most
        parts.append(line(one, top, one, top + ROW * len(arms), INK, dashed=True))
        for arm in arms:
            ratio = ratios[arm]
            width = ratio / most * (WIDTH - LEFT - RIGHT)
            colour = OURS if arm.startswith("toolkit") else OTHERS
            milliseconds = pair["milliseconds_a_step"][arm]["median"]
            parts.append(text(LEFT - 12, top + 18, ARMS[arm].replace("`", ""), anchor="end"))
            parts.append(f'<rect x="{LEFT}" y="{top + 4:.1f}" width="{width:.1f}" height="20" fill="{colour}"/>')
            parts.append(text(WIDTH - RIGHT + 12, top + 18, f"{ratio:.2f} ({milliseconds:.3g} ms)"))
            top += ROW
        top += 30
    return svg(parts, top)


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


if __name__ == "__main__":
    for name, draw in {"online_peers": online_peers, "early_exit": early_exit}.items():
        measured = result(name)
        if "skipped" not in measured:
            (IMAGES / f"{name}.svg").write_text(draw(measured), encoding="utf-8")
