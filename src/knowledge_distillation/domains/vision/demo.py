"""The demo: a CNN teaches a small MLP that sees few labels; the same MLP alone shows what that is worth."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.vision.data import digits, fashion_mnist
from knowledge_distillation.domains.vision.models import digits_cnn, image_mlp, small_cnn
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.evaluation.comparison import Comparison, compare
from knowledge_distillation.evaluation.cost import Cost, cpu_threads, measure_cost
from knowledge_distillation.run import Run, distill
from knowledge_distillation.training.places import next_free
from knowledge_distillation.training.run_directory import environment_facts

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
        comparison: both arms of the student.
        teacher_cost, student_cost: for one image on the CPU.
        directory: where every run was written.
        seconds: wall time of the whole demo.
    """

    dataset: str
    labelled: int
    images: int
    teacher_accuracy: float
    comparison: Comparison
    teacher_cost: Cost
    student_cost: Cost
    directory: Path
    seconds: float

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
            "directory": str(self.directory),
            "seconds": self.seconds,
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
    """Train the teacher, then the student with and without it for every seed, and measure all of them.

    Args:
        dataset: "digits" or "fashion_mnist".
        directory: where to write; default: the next free runs/demo-NNN.
        seeds: how many pairs of students, at least 2; default: the plan's, 3 when quick.
        quick: train for fewer epochs.
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
        return _run_demo(dataset, plan, directory, range(pairs), quick, folder, progress)


def _run_demo(
    dataset: str,
    plan: Plan,
    directory: str | Path | None,
    seeds: Sequence[int],
    quick: bool,
    folder: str | None,
    progress: Callable[[str], None],
) -> DemoResult:
    started = time.monotonic()
    make_data = plan.data if folder is None else partial(plan.data, folder=folder)
    data = make_data()
    home = _free_directory(directory)

    progress(f"training the teacher on {len(data.train.dataset)} labelled images")  # type: ignore[arg-type]
    torch.manual_seed(0)
    taught = _train(
        None,
        plan.teacher(),
        data,
        "labels",
        plan.quick_teacher_epochs if quick else plan.teacher_epochs,
        home / "teacher",
        0,
    )
    teacher = taught.student
    student: nn.Module = plan.student()

    def arm(seed: int, with_teacher: bool) -> float:
        nonlocal student
        progress(f"seed {seed}: student {'with' if with_teacher else 'without'} the teacher")
        torch.manual_seed(seed)
        student = plan.student()
        run = _train(
            teacher if with_teacher else None,
            student,
            make_data(labelled=plan.labelled, seed=seed),
            "kd" if with_teacher else "labels",
            plan.quick_student_epochs if quick else plan.student_epochs,
            home / f"seed-{seed}-{'with' if with_teacher else 'without'}-teacher",
            seed,
        )
        return run.scores["test"]

    comparison = compare(arm, seeds, metric="test accuracy")
    progress("measuring latency")
    image = torch.zeros(1, data.facts["channels"], data.facts["size"], data.facts["size"])
    result = DemoResult(
        dataset=dataset,
        labelled=plan.labelled,
        images=len(data.train.dataset),  # type: ignore[arg-type]
        teacher_accuracy=taught.scores["test"],
        comparison=comparison,
        teacher_cost=measure_cost(teacher, (image,), rounds=200),
        student_cost=measure_cost(student, (image,), rounds=200),
        directory=home,
        seconds=round(time.monotonic() - started, 1),
    )
    report = {**result.as_dict(), "environment": environment_facts()}
    (home / "comparison.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    return result


def _train(
    teacher: nn.Module | None, student: nn.Module, data: Data, objective: str, epochs: int, directory: Path, seed: int
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
        seed=seed,
        trainer={**QUIET, "check_val_every_n_epoch": epochs},
    )


def _free_directory(directory: str | Path | None) -> Path:
    if directory is not None:
        home = Path(directory)
        if home.exists() and any(home.iterdir()):
            raise ConfigError(f"{home} is not empty, and nothing is overwritten. Choose another directory.")
        return home
    return next_free(Path("runs"), "demo-{:03d}")
