"""`kd sweep RECIPE`: try settings of a recipe and write out the best one."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd sweep`."""
    parser.add_argument("recipe", help="name of a shipped recipe (see `kd list recipes`) or path of a .yaml file")
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="A.B=VALUES",
        help="what to try: 1..8, 1e-4..1e-1:log or [a, b, c]; default: the recipe's sweep section",
    )
    parser.add_argument("--trials", type=int, default=20, help="how many in all; default: 20")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of values; default: 0")
    parser.add_argument("--metric", help="the validation loader whose score is sought; default: the first")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="change one value of the recipe"
    )
    parser.add_argument("--module", help="a Python file with your own models and data sets")
    parser.add_argument("--directory", help="where to write; default: the next free runs/sweep-NNN")
    parser.add_argument("--resume", action="store_true", help="go on with the sweep in --directory")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    """Sweep, then print the best trial and where its recipe lies."""
    import logging

    from rich.console import Console

    from knowledge_distillation.cli.quiet import quiet_lightning
    from knowledge_distillation.recipes.reading import read_recipe
    from knowledge_distillation.recipes.running import own_names
    from knowledge_distillation.recipes.sweeping import sweep_recipe
    from knowledge_distillation.recipes.trials import load_optuna

    recipe = read_recipe(options.recipe, options.set)
    quiet_lightning()
    logging.getLogger("knowledge_distillation.training.progress").setLevel(
        logging.WARNING
    )  # a line a trial, not an epoch
    optuna = load_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    notes = Console(stderr=True)
    found = sweep_recipe(
        recipe,
        options.over,
        trials=options.trials,
        seed=options.seed,
        metric=options.metric,
        directory=options.directory,
        resume=options.resume,
        own=own_names(options.module) if options.module else {},
        progress=lambda line: notes.print(line, markup=False, highlight=False, soft_wrap=True),
    )
    if options.json:
        print(json.dumps(found.as_dict()))
        return
    print(f"Best of {len(found.trials)} trials: {found.metric} {found.best['score']:.4f}, trial {found.best['number']}")
    for path, value in found.best["values"].items():
        print(f"  {path}: {value}")
    print(f"Written to {found.directory / 'best.yaml'}: train it with `kd train {found.directory / 'best.yaml'}`")
