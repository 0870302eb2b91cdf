"""The demo: a CNN teaches a small MLP that sees few labels; the same MLP alone shows what that is worth.

It is what a user would do: distil, compare, export, evaluate, report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.vision.data import digits, fashion_mnist
from knowledge_distillation.domains.vision.models import digits_cnn, image_mlp, small_cnn
from knowledge_distillation.errors import ConfigError, MissingExtraError, nearest
from knowledge_distillation.evaluation.comparison import Comparison
from knowledge_distillation.evaluation.cost import Cost, cpu_threads, measure_cost
from knowledge_distillation.run import Run, distill
from knowledge_distillation.training.places import next_free
from knowledge_distillation.training.run_directory import environment_facts

T = TypeVar("T")
QUIET = {"enable_progress_bar": False, "accelerator": "cpu", "devices": 1}


@dataclass(frozen=True, slots=True)
class Plan:
    """One data set's models and budgets.

    Attributes:
        data: (labelled, seed) -> loaders; labelled None keeps every label.
        teacher, student: make the two models.
        labelled: images that keep their label while the student learns.
        teacher_epochs, student_epochs: budgets; the quick ones for CI.
        seeds: how many pairs of students, unless asked otherwise.
        threads: CPU threads; None leaves the setting. The smallest models are slower on two.
    """

    data: Callable[..., Data]
    teacher: Callable[[], nn.Module]
    student: Callable[[], nn.Module]
    labelled: int
    teacher_epochs: int
    student_epochs: int
    quick_teacher_epochs: int
    quick_student_epochs: int
    seeds: int
    threads: int | None


PLANS = {
    "digits": Plan(
        data=partial(digits, batch_size=32),
        teacher=digits_cnn,
        student=image_mlp,
        labelled=100,
        teacher_epochs=20,
        student_epochs=20,
        quick_teacher_epochs=20,
        quick_student_epochs=10,
        seeds=5,
        threads=1,
    ),
    "fashion_mnist": Plan(
        data=partial(fashion_mnist, limit=10_000, batch_size=100),
        teacher=small_cnn,
        student=partial(image_mlp, size=28, hidden=64),
        labelled=500,
        teacher_epochs=3,
        student_epochs=4,
        quick_teacher_epochs=1,
        quick_student_epochs=1,
        seeds=3,
        threads=None,
    ),
}


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured.

    Attributes:
        dataset: its name.
        labelled, images: labelled and all training images of the student.
        teacher_accuracy: on the test images.
        comparison: both arms of the student, at equal steps and at equal time.
        teacher_cost, student_cost: for one image on the CPU.
        doctor: what the doctor said before the student was trained, one line a finding.
        export: manifest of the ONNX file, with its equality to the student; None without the extra `onnx`.
        report: path of the page with all of it; None without the extra `report`.
        directory: of the student's run; the teacher's lies in it.
        seconds: wall time of the whole demo.
        notes: what was left out, and why.
    """

    dataset: str
    labelled: int
    images: int
    teacher_accuracy: float
    comparison: Comparison
    teacher_cost: Cost
    student_cost: Cost
    doctor: tuple[str, ...]
    export: Mapping[str, Any] | None
    report: Path | None
    directory: Path
    seconds: float
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "dataset": self.dataset,
            "labelled": self.labelled,
            "images": self.images,
            "teacher_accuracy": self.teacher_accuracy,
            "comparison": self.comparison.as_dict(),
            "teacher_cost": self.teacher_cost.as_dict(),
            "student_cost": self.student_cost.as_dict(),
            "doctor": list(self.doctor),
            "export": self.export,
            "report": None if self.report is None else str(self.report),
            "directory": str(self.directory),
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def run_demo(
    dataset: str = "digits",
    *,
    directory: str | Path | None = None,
    seeds: int | None = None,
    quick: bool = False,
    folder: str | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> DemoResult:
    """Train the teacher, distil the student, compare it with its control for every seed, export, measure, report.

    Args:
        dataset: "digits" or "fashion_mnist".
        directory: where to write; default: the next free runs/demo-NNN.
        seeds: how many pairs of students, at least 2; default: the plan's, 3 when quick.
        quick: train for fewer epochs, and compare at equal steps only.
        folder: of the Fashion-MNIST files.
        progress: called with a line before each stage.

    Raises:
        ConfigError: if the data set is unknown or its files are absent.
    """
    if dataset not in PLANS:
        raise ConfigError(f"There is no demo of {dataset!r}. {nearest(dataset, PLANS)}")
    plan = PLANS[dataset]
    if seeds is not None and seeds < 2:
        raise ConfigError(f"seeds must be at least 2, got {seeds}: one pair cannot tell a gain from luck.")
    pairs = seeds or (3 if quick else plan.seeds)
    with cpu_threads(plan.threads):
        return _run_demo(dataset, plan, _free_directory(directory), pairs, quick, folder, progress)


def _run_demo(
    dataset: str,
    plan: Plan,
    home: Path,
    pairs: int,
    quick: bool,
    folder: str | None,
    progress: Callable[[str], None],
) -> DemoResult:
    started = time.monotonic()
    make_data = plan.data if folder is None else partial(plan.data, folder=folder)
    data, few = make_data(), make_data(labelled=plan.labelled, seed=0)
    images = len(data.train.dataset)  # type: ignore[arg-type]

    progress(f"training the teacher on {images} labelled images")
    epochs = plan.quick_teacher_epochs if quick else plan.teacher_epochs
    taught = _train(None, plan.teacher, data, "labels", epochs, home / "teacher")
    progress(f"the doctor looks at the plan; then the student learns from the teacher and {plan.labelled} labels")
    run = _train(
        taught.student, plan.student, few, "kd", plan.quick_student_epochs if quick else plan.student_epochs, home
    )
    findings = json.loads((home / "doctor.json").read_text(encoding="utf-8"))["findings"]

    def trains(line: str) -> None:
        if line.startswith("seed"):  # a score is no stage
            progress(line)

    comparison = run.compare(pairs, equal="steps" if quick else "both", progress=trains)

    notes: list[str] = []
    progress("exporting to ONNX, loading the file again, comparing it with the student")
    exported = _if_installed(run.export, notes)
    progress("measuring teacher, student, control and exported file; writing the report")
    report = _if_installed(run.report, notes)
    image = torch.zeros(1, data.facts["channels"], data.facts["size"], data.facts["size"])
    result = DemoResult(
        dataset=dataset,
        labelled=plan.labelled,
        images=images,
        teacher_accuracy=taught.scores["test"],
        comparison=comparison,
        teacher_cost=measure_cost(taught.student, (image,), rounds=200),
        student_cost=measure_cost(run.student, (image,), rounds=200),
        doctor=tuple(f"{entry['severity']}: {entry['fault']}" for entry in findings),
        export=None if exported is None else exported.as_dict(),
        report=report,
        directory=home,
        seconds=round(time.monotonic() - started, 1),
        notes=tuple(notes),
    )
    written = {**result.as_dict(), "environment": environment_facts()}
    (home / "demo.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
    return result


def _train(
    teacher: nn.Module | None,
    student: Callable[[], nn.Module],
    data: Data,
    objective: str,
    epochs: int,
    directory: Path,
) -> Run:
    return distill(
        teacher,
        student,
        data.train,
        data.validation,
        objective=objective,
        max_epochs=epochs,
        optimizer={"name": "adamw", "weight_decay": 1e-4},
        learning_rate=1e-2,
        schedule="one_cycle",
        directory=directory,
        trainer={**QUIET, "check_val_every_n_epoch": epochs},
    )


def _if_installed(stage: Callable[[], T], notes: list[str]) -> T | None:
    try:
        return stage()
    except MissingExtraError as error:
        notes.append(str(error))
        return None


def _free_directory(directory: str | Path | None) -> Path:
    if directory is not None:
        home = Path(directory)
        if home.exists() and any(home.iterdir()):
            raise ConfigError(f"{home} is not empty, and nothing is overwritten. Choose another directory.")
        return home
    return next_free(Path("runs"), "demo-{:03d}")
