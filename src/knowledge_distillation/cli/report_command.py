"""`kd report RUN`: measure what is not measured yet, and write all that is known of a run on one page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge_distillation.evaluation.result import Evaluation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd report`."""
    parser.add_argument("run", help="directory of a run that `kd train`, `kd compare` or kd.distill wrote")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    parser.add_argument(
        "--evaluate", action="store_true", help="measure again, as after a new export; default: once for a run"
    )
    parser.add_argument(
        "--corruptions", default="", metavar="A,B", help="also measure pictures with gaussian_noise, blur, ..."
    )
    parser.add_argument("--module", help="the Python file with your own models and data sets")
    parser.add_argument("--json", action="store_true", help="print verdict, answer and files as JSON")


def run(options: argparse.Namespace) -> None:
    """Evaluate where that was not done, write report.html, report.md and report.json, print the verdict."""
    from rich.console import Console

    from knowledge_distillation.errors import DistillationError
    from knowledge_distillation.reporting import write_report

    home, notes = Path(options.run), Console(stderr=True)
    asked = options.evaluate or bool(options.corruptions)
    if asked or (home.is_dir() and not (home / "evaluation.json").is_file()):
        try:
            with notes.status("measuring teacher, student, control and exported files"):
                _evaluated(home, options)
        except DistillationError as error:
            if asked:
                raise
            notes.print(f"Not measured: {error}", markup=False, highlight=False, soft_wrap=True)
    page = write_report(home)
    written = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    if options.json:
        names = ("title", "verdict", "answer", "facts")
        print(json.dumps({"directory": str(home), "report": str(page), **{name: written[name] for name in names}}))
    else:
        print(written["verdict"]["headline"])
        print(written["answer"])
        print(f"Written to {page}, as text to report.md, as data to report.json")
    if options.open:
        _show(page, notes)


def _evaluated(home: Path, options: argparse.Namespace) -> Evaluation:
    """Measure every model of the run and write evaluation.json."""
    from dataclasses import replace

    from knowledge_distillation.capture.adapters import adapter_pair
    from knowledge_distillation.errors import ConfigError
    from knowledge_distillation.recipes.caching import adapter_of
    from knowledge_distillation.recipes.rebuilding import rebuilt_run
    from knowledge_distillation.recipes.running import own_names
    from knowledge_distillation.run_evaluation import evaluate_run
    from knowledge_distillation.teachers import as_teacher

    models = rebuilt_run(home, own_names(options.module) if options.module else {})
    if not models.data.validation:
        raise ConfigError(f"The data set {models.recipe.data['name']!r} has no validation loader to measure on.")
    (name, loader), *others = models.data.validation.items()
    adapter = adapter_of(models.recipe, models.data)
    found = evaluate_run(
        None,
        None if models.teacher is None else as_teacher(models.teacher, adapter=adapter_pair(adapter)[1]),
        models.student,
        home,
        loader,
        metric=name,
        models={} if models.control is None else {"control": models.control},
        measures={
            "loaders": dict(others),
            "adapter": adapter,
            "pipeline": models.data.pipeline,
            "class_names": models.data.class_names,
            "show": models.data.show,
            "corruptions": [name.strip() for name in options.corruptions.split(",") if name.strip()],
        },
    )
    if models.notes:
        found = replace(found, notes=(*found.notes, *models.notes))
        found.save(home)
    return found


def _show(page: Path, notes: Any) -> None:
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        notes.print(f"No browser could be opened here. Open {page} in one.", markup=False, soft_wrap=True)
