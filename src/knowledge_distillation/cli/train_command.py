"""`kd train RECIPE`: train a student as a recipe says."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd train`."""
    parser.add_argument("recipe", help="name of a shipped recipe (see `kd list recipes`) or path of a .yaml file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="change one value of the recipe"
    )
    parser.add_argument("--module", help="a Python file with your own models and data sets")
    parser.add_argument(
        "--directory", help="where to write the run; default: the recipe's, or the next free runs/run-NNN"
    )
    parser.add_argument("--resume", help="'auto' for the directory's last checkpoint, or a checkpoint's path")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    """Train and print the scores."""
    from knowledge_distillation.cli.quiet import quiet_lightning
    from knowledge_distillation.recipes.reading import read_recipe
    from knowledge_distillation.recipes.running import own_names, run_recipe

    recipe = read_recipe(options.recipe, options.set)
    quiet_lightning()
    own = own_names(options.module) if options.module else {}
    result = run_recipe(recipe, directory=options.directory, resume=options.resume, own=own)
    if not result.module.trainer.is_global_zero:
        return
    if options.json:
        scores = {"scores": dict(result.scores), "best_scores": dict(result.best_scores)}
        print(json.dumps({"directory": str(result.directory), **scores}))
        return
    for name, value in result.scores.items():
        best = result.best_scores.get(name, value)
        print(f"{name}: {value:.4f} after the last epoch, {best:.4f} after the best")
    print(f"Written to {result.directory}")
