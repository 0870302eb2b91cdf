"""`kd demo`: the whole job on real data in under two minutes."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from knowledge_distillation.domains.vision.demo import DemoResult
    from knowledge_distillation.evaluation.comparison import Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd demo`."""
    parser.add_argument("--dataset", default="digits", help="digits (shipped) or fashion_mnist")
    parser.add_argument("--folder", help="where the Fashion-MNIST files lie")
    parser.add_argument("--directory", help="where to write; default: the next free runs/demo-NNN")
    parser.add_argument("--seeds", type=int, help="how many pairs to train, at least 2")
    parser.add_argument("--quick", action="store_true", help="fewer epochs, for CI")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    """Run the demo and print its table."""
    from rich.console import Console

    from knowledge_distillation.cli.quiet import quiet_lightning
    from knowledge_distillation.domains.vision.demo import run_demo

    quiet_lightning()
    screen, notes = Console(), Console(stderr=True)
    done = 0

    with notes.status("starting") as status:

        def progress(stage: str) -> None:
            nonlocal done
            done += 1
            status.update(f"{done}: {stage}")
            if not notes.is_terminal:
                notes.print(f"{done}: {stage}", markup=False, highlight=False)

        result = run_demo(
            options.dataset,
            directory=options.directory,
            seeds=options.seeds,
            quick=options.quick,
            folder=options.folder,
            progress=progress,
        )
    if options.json:
        print(json.dumps(result.as_dict(), indent=2))
        return
    screen.print(_table(result))
    comparison = result.comparison
    found = " found" if comparison.verdict == "no evidence" else ""
    screen.print(
        f"\nThe student sees {result.images} images, of which {result.labelled} carry a label; "
        "the teacher knew all labels.\n"
        f"Verdict: distillation [bold]{comparison.verdict}[/bold]{found}: {_points(comparison)}.",
        highlight=False,
    )
    if comparison.at_equal_time is not None:
        screen.print(
            f"With a control that trains for as long: {comparison.at_equal_time.verdict}, "
            f"{_points(comparison.at_equal_time)}.",
            highlight=False,
        )
    for line in _shipping(result):
        screen.print(line, highlight=False, markup=False, soft_wrap=True)


def _points(comparison: Comparison) -> str:
    return (
        f"{100 * comparison.difference:+.1f} points (95% interval {100 * comparison.low:+.1f} to "
        f"{100 * comparison.high:+.1f}, paired over {len(comparison.seeds)} seeds)"
    )


def _shipping(result: DemoResult) -> Iterator[str]:
    yield f"Doctor, before training: {'; '.join(result.doctor) or 'nothing found'}"
    if result.export is not None:
        numbers = result.export["equality"]
        yield (
            f"ONNX file, loaded again: same class as the student on {numbers['agreement']:.1%} of {numbers['items']} "
            f"images, largest difference {numbers['max_relative']:.1g} of the output"
        )
    yield from result.notes
    yield f"Took {result.seconds:.0f} s. Written to {result.directory}"
    if result.report is not None:
        yield f"All of it on one page: {result.report}"


def _table(result: DemoResult) -> Table:
    from rich.table import Table

    table = Table(title=f"Distillation on {result.dataset}, real test images")
    for heading in ("", "accuracy", "spread", "parameters", "size", "latency"):
        table.add_column(heading, justify="left" if not heading else "right")
    comparison, small, large = result.comparison, result.student_cost, result.teacher_cost
    rows = (
        ("teacher", (result.teacher_accuracy,), large),
        ("student with teacher", comparison.with_teacher, small),
        ("student without", comparison.without_teacher, small),
    )
    for name, scores, cost in rows:
        spread = f"± {100 * statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        table.add_row(
            name,
            f"{100 * statistics.fmean(scores):.2f}%",
            spread,
            f"{cost.parameters:,}",
            f"{cost.bytes / 1024:.1f} KiB",
            f"{cost.latency_ms:.3f} ms",
        )
    return table
