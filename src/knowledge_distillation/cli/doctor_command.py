"""`kd doctor RECIPE`: what would be silently wrong with a training, before its first step."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knowledge_distillation.doctor import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd doctor`."""
    parser.add_argument("recipe", help="name of a shipped recipe (see `kd list recipes`) or path of a .yaml file")
    parser.add_argument("--quick", action="store_true", help="only what comes before every training: about a second")
    parser.add_argument("--checks", metavar="A,B", help="run these checks alone")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="change one value of the recipe"
    )
    parser.add_argument("--module", help="a Python file with your own models and data sets")
    parser.add_argument(
        "--directory", help="keep doctor.json there, and a teacher that the recipe trains; default: nothing is kept"
    )
    parser.add_argument("--json", action="store_true", help="print the diagnosis as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the findings, worst first.

    Returns:
        1 if one of them is an error, else 0.
    """
    from rich.console import Console

    from knowledge_distillation.cli.quiet import quiet_lightning
    from knowledge_distillation.recipes.examining import examine_recipe
    from knowledge_distillation.recipes.reading import read_recipe
    from knowledge_distillation.recipes.running import own_names

    recipe = read_recipe(options.recipe, options.set)
    checks = [name.strip() for name in options.checks.split(",") if name.strip()] if options.checks else None
    quiet_lightning()
    if recipe.teacher is not None and "train" in json.dumps(recipe.teacher):
        Console(stderr=True).print("training the teacher first, as the recipe says", highlight=False)
    diagnosis = examine_recipe(
        recipe,
        directory=options.directory,
        own=own_names(options.module) if options.module else {},
        quick=options.quick,
        checks=checks,
    )
    if options.json:
        print(json.dumps(diagnosis.as_dict()))
        return int(bool(diagnosis.errors))
    screen = Console()
    for finding in diagnosis.findings:
        for line in _lines(finding):
            screen.print(line, markup=False, highlight=False, soft_wrap=True)
    counts = {name: sum(finding.severity == name for finding in diagnosis.findings) for name in ("error", "warning")}
    found = " and ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count)
    screen.print(
        f"{found or 'Nothing wrong'} found by {len(diagnosis.checks)} checks in {diagnosis.seconds:.1f} s; "
        f"{len(diagnosis.skipped)} had nothing to look at (--json says why).",
        highlight=False,
        soft_wrap=True,
    )
    return int(bool(diagnosis.errors))


def _lines(finding: Finding) -> list[str]:
    return [
        f"{finding.severity}: {finding.fault} [{finding.check}]",
        f"  seen: {finding.evidence}",
        f"  harm: {finding.harm}",
        f"  fix:  {finding.fix}",
        "",
    ]
