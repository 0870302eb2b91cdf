"""Write the report of a run: report.html, report.md and report.json, from the run's own files and nothing else."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

from knowledge_distillation.errors import ConfigError, MissingExtraError
from knowledge_distillation.reporting.blocks import Report
from knowledge_distillation.reporting.composing import compose
from knowledge_distillation.reporting.markdown import as_markdown
from knowledge_distillation.reporting.reading import read_run
from knowledge_distillation.reporting.sections.answer import QUESTION

PAGE = Path(__file__).parent / "page"


def write_report(run_directory: str | Path, *, title: str | None = None) -> Path:
    """Write what is known of a run on one page.

    The same files give the same bytes: nothing is measured here, and no clock is read. What was not measured is named
    together with the command that measures it.

    Args:
        run_directory: of a run; recipe.yaml, environment.json, metrics.csv, comparison.json, evaluation.json, samples/,
            doctor.json and exports/*/manifest.json are read where they are there.
        title: of the page; default: what the recipe calls student and teacher.

    Returns:
        The path of report.html, which needs no other file and no network. report.md and report.json lie beside it.

    Raises:
        ConfigError: if there is no such directory, it holds nothing of a run, or it cannot be written to.
        MissingExtraError: if jinja2 is not installed.
    """
    if find_spec("jinja2") is None:
        raise MissingExtraError(
            "The report needs the package jinja2, which is not installed. "
            "Run: pip install 'knowledge-distillation-toolkit[report]'"
        )
    files = read_run(run_directory)
    report = compose(files, title)
    forms = {
        "report.html": _html(report, files.directory.resolve().name),
        "report.md": as_markdown(report),
        "report.json": json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n",
    }
    for name, text in forms.items():
        _write(files.directory / name, text)
    return files.directory / "report.html"


def _html(report: Report, directory: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,  # names, texts and samples come from anywhere
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (PAGE / "report.css").read_text(encoding="utf-8")
    page = environment.get_template("report.html.jinja")
    return page.render(report=report, style=style, question=QUESTION, directory=directory).lstrip() + "\n"


def _write(path: Path, text: str) -> None:
    """All of the file or none: a reader never sees half a page."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(beside, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}. Copy the run to where you may write.") from error
