"""The page on the loss of language models, read from `docs/results/lm_loss.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from docs.generate.markdown import table
from docs.generate.measured import machine, result, skipped

HEAD = ("variant", "fastest, ms", "time to eager", "peak, MB", "memory to eager")


def figures() -> str:
    """The two figures of given logits, and where they were measured."""
    found = result("lm_loss")
    if "skipped" in found:
        return skipped(found)
    return (
        f"From given logits this toolkit's loss takes **{found['time_ratio_to_eager']:.2f}** of the eager time and "
        f"**{found['memory_ratio_to_eager']:.2f}** of its peak of memory. {machine(found)}"
    )


def rows() -> str:
    """Time and memory of each way to compute the loss, a table for each shape."""
    found = result("lm_loss")
    if "skipped" in found:
        return skipped(found)
    shapes = dict.fromkeys(row["shape"] for row in found["rows"])
    return "\n\n".join(f"**{shape}**\n\n{_of_shape(found['rows'], shape)}" for shape in shapes)


def _of_shape(measured: list[dict[str, Any]], shape: str) -> str:
    own = [row for row in measured if row["shape"] == shape]
    floors = [f"The floor is {row['floor_milliseconds']:.1f} ms." for row in own[:1] if "floor_milliseconds" in row]
    cells = [
        [
            row["variant"],
            f"{row['milliseconds']['min']:.0f}",
            f"{row['time_ratio_to_eager']:.2f}",
            "-" if row["megabytes"] is None else f"{row['megabytes']:,}",
            "-" if row["memory_ratio_to_eager"] is None else f"{row['memory_ratio_to_eager']:.2f}",
        ]
        for row in own
    ]
    return "\n\n".join([table(HEAD, cells), *floors])


def precision() -> str:
    """The error of the head's gradient."""
    found = result("lm_loss")
    if "skipped" in found:
        return skipped(found)
    errors = found["gradient_error"]
    return (
        f"Its error is **{errors['ours']:.2g}** here and {errors['rounded_logits']:.2g} where logits are rounded to "
        "bfloat16 first, as parts of the gradient."
    )


def not_measured() -> str:
    """What the figures do not say: no GPU, or which arms could not run."""
    found = result("lm_loss")
    left = found.get("left_out", {})
    said = [f"{arm} was left out: {reason}." for arm, reason in left.items()]
    if found.get("device", "cpu") == "cpu":
        said.insert(0, "**No figure has been measured on a GPU**, neither of this toolkit nor of Liger.")
    return " ".join(said)


TABLES: Mapping[str, Callable[[], str]] = {
    "lm-loss-figures": figures,
    "lm-loss": rows,
    "lm-loss-precision": precision,
    "lm-loss-not-measured": not_measured,
}
