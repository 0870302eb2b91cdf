"""Trees teach a small network on real tables: classes with few labels, then numbers; under a minute, no download.

    python examples/tables.py [--small]

Your own table takes its place: `csv_table("people.csv", "income", task="regression")`, or in a recipe
`data: {name: csv_table, path: people.csv, target: income, task: regression}`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from sklearn.ensemble import ExtraTreesClassifier

import knowledge_distillation as kd
from knowledge_distillation.domains.tabular import Estimator, diabetes, digits_table, tabular_mlp
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def classify(folder: Path, epochs: int) -> None:
    """A forest of your own, fitted in Python, teaches a student that sees 100 labels."""
    data = digits_table(labelled=100)
    training = data.facts["training"]
    forest = ExtraTreesClassifier(50, random_state=0).fit(training.rows.numpy(), training.every.numpy())
    rows, labels = data.validation["test"].dataset.tensors
    run = kd.distill(
        Estimator(forest, classes=10),
        lambda: tabular_mlp(data.facts["columns"], hidden=[64]),
        data.train,
        data.validation,
        objective={"kd": {"loss": "kd", "weight": 0.9, "temperature": 2}, "cross_entropy": 0.1},
        max_epochs=epochs,
        learning_rate=5e-3,
        schedule="one_cycle",
        directory=folder / "digits",
        trainer=QUIET,
    )
    print(f"digits: forest {forest.score(rows.numpy(), labels.numpy()):.3f}, student {run.scores['test']:.3f} accuracy")


def predict(folder: Path, epochs: int) -> None:
    """The same by a recipe, for a number: the recipe fits the trees itself, on the 100 labels that the student has."""
    overrides = [f"training.max_epochs={epochs}", "training.trainer={enable_progress_bar: false}"]
    run = run_recipe(read_recipe("table_diabetes", overrides), directory=folder / "diabetes")
    loader = diabetes().validation["test"]
    trees = float(diabetes().pipeline.run_inference_pipeline(run.module.teacher.model, loader)["inference_result"])
    print(f"diabetes: trees {trees:.1f}, student {run.scores['test']:.1f} rmse")


def main() -> None:
    epochs = 5 if "--small" in sys.argv else 40
    with tempfile.TemporaryDirectory() as place:
        classify(Path(place), epochs)
        predict(Path(place), epochs)


if __name__ == "__main__":
    main()
