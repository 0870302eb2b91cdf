"""`kd compare RECIPE`: distil as a recipe says, and train the same student without the teacher."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table

    from knowledge_distillation.evaluation.comparison import Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd compare`."""
    parser.add_argument("recipe", help="name of a shipped recipe (see `kd list recipes`) or path of a .yaml file")
    parser.add_argument("--seeds", type=int, default=3, help="how many pairs to train, at least 2; default: 3")
    parser.add_argument(
        "--arms", default="labels", metavar="A,B", help="further arms: label_smoothing, or any objective or loss"
    )
    parser.add_argument("--equal", choices=("both", "steps"), default="both", help="steps leaves equal time out")
    parser.add_argument("--metric", help="the validation loader to compare by; default: the first")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="change one value of the recipe"
    )
    parser.add_argument("--module", help="a Python file with your own models and data sets")
    parser.add_argument(
        "--directory", help="where to write the run; default: the recipe's, or the next free runs/run-NNN"
    )
    parser.add_argument(
        "--resume", help="'auto' goes on with the run, and the comparison, that broke off in --directory"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    """Train every arm, print the verdict."""
    from rich.console import Console

    from knowledge_distillation.cli.quiet import quiet_lightning
    from knowledge_distillation.errors import ConfigError
    from knowledge_distillation.recipes.reading import read_recipe
    from knowledge_distillation.recipes.running import own_names, run_recipe
    from knowledge_distillation.run_comparison import check_learns, checked_arms

    recipe = read_recipe(options.recipe, options.set)
    if options.seeds < 2:
        raise ConfigError(f"--seeds must be at least 2, got {options.seeds}: one pair cannot tell a gain from luck.")
    method = (recipe.method or {}).get("name", "distill")
    if recipe.teacher is None and method != "mutual":
        raise ConfigError("The recipe has no teacher section, so both arms would be the same training.")
    if method == "data_free":
        raise ConfigError(
            "The method 'data_free' makes its images with the teacher while the student learns: without the teacher "
            "there is no training to compare with."
        )
    check_learns(recipe.objective)
    arms = checked_arms([arm.strip() for arm in options.arms.split(",") if arm.strip()])
    quiet_lightning()
    notes = Console(stderr=True)
    own = own_names(options.module) if options.module else {}
    trained = run_recipe(recipe, directory=options.directory, resume=options.resume, own=own)
    try:
        found = trained.compare(
            options.seeds,
            arms=arms,
            equal=options.equal,
            metric=options.metric,
            progress=lambda line: notes.print(line, markup=False, highlight=False),
        )
    except KeyboardInterrupt:
        notes.print(
            f"The distilled student in {trained.directory} is finished, and what was trained since is kept: "
            f"go on with --directory {trained.directory} --resume auto.",
            markup=False,
            highlight=False,
        )
        raise
    if options.json:
        print(json.dumps({"directory": str(trained.directory), **found.as_dict()}))
        return
    screen = Console()
    screen.print(_table(found))
    lines = [found.sentence, *([found.at_equal_time.sentence] if found.at_equal_time else [])]
    lines += [f"{name}: {arm.verdict}, compared with the same control." for name, arm in found.arms.items()]
    for line in (*lines, *found.notes, f"Written to {trained.directory}"):
        screen.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(found: Comparison) -> Table:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for heading in (f"{len(found.seeds)} seeds", found.metric, "steps", "seconds", "difference, 95% interval"):
        table.add_column(heading, justify="left" if heading.endswith("seeds") else "right")
    for cells in _rows(found):
        table.add_row(*cells)
    return table


def _rows(found: Comparison) -> Iterator[tuple[str, ...]]:
    yield _row("without the teacher", found, "without_teacher")
    yield _row("distilled", found, "with_teacher")
    for name, arm in found.arms.items():
        yield _row(name, arm, "with_teacher")
    if found.at_equal_time is not None:
        yield _row("without, equal time", found.at_equal_time, "without_teacher")
        yield _row("distilled, equal time", found.at_equal_time, "with_teacher")


def _row(name: str, found: Comparison, side: Literal["with_teacher", "without_teacher"]) -> tuple[str, ...]:
    seconds = found.seconds.get(side)
    compared = side == "with_teacher"
    return (
        name,
        f"{statistics.fmean(getattr(found, side)):.4f}",
        str(found.steps[side]),
        "" if seconds is None else f"{seconds:.2f}",
        f"{found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f})" if compared else "",
    )
