"""Is a student from the teacher cache as good as one with the live teacher? The demo's task, seed by seed.

The recipe `digits`: a CNN teaches an MLP that sees 100 labels. The teacher is trained once; then each seed trains one
student beside the live teacher and one from a cache of its answers, from the same weights and in the same order.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import progress
from knowledge_distillation.cli.quiet import quiet_lightning
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import cache_recipe, run_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--encoding", default="float16", help="of the teacher's logits")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="change the recipe")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    quiet_lightning()
    torch.set_num_threads(1)  # the demo's own setting
    scores: dict[str, list[float]] = {"live": [], "cached": []}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = [*arguments.set, "training.trainer={enable_progress_bar: false}"]
        kept = [f"cache={{directory: {home / 'cache'}, signals: {{logits: {arguments.encoding}}}}}"]
        first = read_recipe(arguments.recipe, [*settings, *kept])
        cache_recipe(first)  # trains the teacher, beside the cache
        teacher = {**(first.teacher or {}), "weights": str(home / "cache" / "teacher" / "student.safetensors")}
        live = [f"teacher={json.dumps({key: value for key, value in teacher.items() if key != 'train'})}"]
        for seed in range(arguments.seeds):
            for arm, changes in (("live", live), ("cached", kept)):
                recipe = read_recipe(arguments.recipe, [*settings, *changes, f"training.seed={seed}"])
                trained = run_recipe(recipe, directory=home / f"{arm}-{seed}")
                scores[arm].append(trained.scores["test"])
            progress(f"seed {seed}: " + ", ".join(f"{arm} {found[-1]:.4f}" for arm, found in scores.items()))
    means = {arm: statistics.fmean(found) for arm, found in scores.items()}
    difference, spread = means["cached"] - means["live"], statistics.stdev(scores["live"])
    return {
        "accuracy": scores,
        "mean": means,
        "difference": difference,
        "spread": spread,
        "within_spread": abs(difference) <= spread,
        "encoding": arguments.encoding,
        "recipe": arguments.recipe,
        "seeds": arguments.seeds,
        "figure": "difference of the means, beside the standard deviation of the live arm over the seeds",
    }
