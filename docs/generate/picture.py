"""Draw docs/images/demo.svg from a demo's result: `python docs/generate/picture.py runs/demo-001/demo.json`."""

from __future__ import annotations

import json
import statistics
import sys
from html import escape
from pathlib import Path
from typing import Any

WIDTH, ROW, LEFT, RIGHT, TOP = 760, 64, 220, 150, 64
INK, FAINT = "#3b4252", "#b9c0cc"
COLOURS = ("#5e6b82", "#2f855a", "#c05621")


def picture(result: dict[str, Any]) -> str:
    """The SVG: one row a model, a dot a seed, a bar at the mean, size and latency beside it."""
    comparison = result["comparison"]
    rows = [
        ("teacher", [result["teacher_accuracy"]], result["teacher_cost"]),
        ("student with teacher", comparison["with_teacher"], result["student_cost"]),
        ("student without", comparison["without_teacher"], result["student_cost"]),
    ]
    least = min(min(scores) for _, scores, _ in rows)
    low = int(100 * least) // 5 * 5

    def place(score: float) -> float:
        return LEFT + (100 * score - low) / (100 - low) * (WIDTH - LEFT - RIGHT)

    height = TOP + ROW * len(rows) + 74
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        '<text x="24" y="36" font-size="18" font-weight="bold">'
        f"Accuracy on {escape(result['dataset'])}, real test images</text>",
    ]
    bottom = TOP + ROW * len(rows)
    for mark in range(low, 101, 5):
        x = place(mark / 100)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="{FAINT}" stroke-width="0.7"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" font-size="12" text-anchor="middle">{mark}%</text>')
    for number, (name, scores, cost) in enumerate(rows):
        y, mean, colour = TOP + ROW * (number + 0.5), statistics.fmean(scores), COLOURS[number]
        parts.append(f'<text x="24" y="{y - 2:.1f}" font-size="15">{escape(name)}</text>')
        parts.append(
            f'<text x="24" y="{y + 16:.1f}" font-size="12" fill="#6b7486">{cost["parameters"]:,} parameters</text>'
        )
        parts += [
            f'<circle cx="{place(score):.1f}" cy="{y:.1f}" r="5" fill="{colour}" opacity="0.45"/>' for score in scores
        ]
        x = place(mean)
        parts.append(f'<rect x="{x - 2:.1f}" y="{y - 15:.1f}" width="4" height="30" fill="{colour}"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 18}" y="{y - 2:.1f}" font-size="15" font-weight="bold">{100 * mean:.1f}%</text>'
        )
        parts.append(
            f'<text x="{WIDTH - RIGHT + 18}" y="{y + 16:.1f}" font-size="12" fill="#6b7486">'
            f"{cost['bytes'] / 1024:.1f} KiB, {cost['latency_ms']:.3f} ms</text>"
        )
    parts.append(
        f'<text x="24" y="{bottom + 50}" font-size="14">Distillation {comparison["verdict"]}: '
        f"{100 * comparison['difference']:+.1f} points, 95% interval {100 * comparison['low']:+.1f} to "
        f"{100 * comparison['high']:+.1f}, paired over {len(comparison['seeds'])} seeds; "
        f"{result['labelled']} of {result['images']} labels.</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    target = Path(__file__).parent.parent / "images" / "demo.svg"
    target.write_text(picture(content), encoding="utf-8")
