"""Is a student that begins as a part of its teacher better than the same student begun at random, at the same budget?

Two real tasks: scikit-learn's digits with a ResNet-20, Fashion-MNIST with a CNN. Each way of `kd.students` makes one
student; each seed trains it twice with the same objective, order of the data and number of steps: from what the teacher
left in it, and with all its layers drawn anew.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.report import progress
from knowledge_distillation import students
from knowledge_distillation.cli.quiet import quiet_lightning
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.vision.data import digits, fashion_mnist
from knowledge_distillation.domains.vision.models import resnet20, small_cnn
from knowledge_distillation.evaluation.comparison import compare_scores
from knowledge_distillation.run import distill
from knowledge_distillation.training.pipelines import AccuracyPipeline

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


@dataclass(frozen=True)
class Task:
    """A data set, its teacher, and the budgets of both."""

    data: Data
    teacher: Callable[[], nn.Module]
    teacher_epochs: int
    student_epochs: int
    ways: Mapping[str, Callable[[nn.Module, Any], nn.Module]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", default="digits,fashion_mnist", help="comma-separated")
    parser.add_argument("--limit", type=int, default=10_000, help="training images of Fashion-MNIST")


def tasks(limit: int) -> dict[str, Callable[[], Task]]:
    return {
        "digits": lambda: Task(
            data=digits(batch_size=64),
            teacher=partial(resnet20, channels=1),
            teacher_epochs=15,
            student_epochs=3,
            ways={
                "keep_layers": lambda teacher, data: students.keep_layers(teacher, 5, "spread"),
                "search_layers": lambda teacher, data: students.search_layers(teacher, 5, data.train).student,
                "factorise": lambda teacher, data: students.factorise(teacher, 0.25),
            },
        ),
        "fashion_mnist": lambda: Task(
            data=fashion_mnist(batch_size=128, limit=limit),
            teacher=small_cnn,
            teacher_epochs=4,
            student_epochs=2,
            ways={
                "narrow": lambda teacher, data: students.narrow(teacher, torch.zeros(1, 1, 28, 28), 0.3),
                "factorise": lambda teacher, data: students.factorise(teacher, 0.15),
            },
        ),
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    quiet_lightning()
    known, rows, teachers = tasks(arguments.limit), [], {}
    for name in arguments.tasks.split(","):
        task = known[name]()
        with tempfile.TemporaryDirectory() as folder:
            train = partial(_train, task=task, home=Path(folder))
            run = train(None, task.teacher, "labels", task.teacher_epochs, seed=0)
            teacher, teachers[name] = run.student.eval(), run.scores["test"]
            progress(f"{name}: teacher {teachers[name]:.4f}")
            for way, make in task.ways.items():
                torch.manual_seed(0)
                rows.append(_row(name, way, teacher, make(teacher, task.data), task, train, arguments.seeds))
                progress(
                    "{task} {way}: {start_accuracy:.4f} before training, then {from_teacher:.4f} from the teacher, "
                    "{random:.4f} from random weights; {verdict}".format(**rows[-1])
                )
    return {
        "rows": rows,
        "teachers": teachers,
        "seeds": arguments.seeds,
        "better_on_every_task": all(
            any(row["task"] == name and row["verdict"] == "helped" for row in rows) for name in teachers
        ),
        "figure": "mean accuracy on the test after the last epoch; difference paired by seed, 95% t interval",
    }


def _row(
    name: str, way: str, teacher: nn.Module, student: nn.Module, task: Task, train: Any, seeds: int
) -> dict[str, Any]:
    start = AccuracyPipeline().run_inference_pipeline(student, task.data.validation["test"])["inference_result"]
    scores: dict[str, list[float]] = {"from_teacher": [], "random": []}
    began = time.monotonic()
    for seed in range(seeds):
        for arm, begin in (("from_teacher", _as_it_is), ("random", _anew)):
            run = train(teacher, partial(begin, student), "kd", task.student_epochs, seed=seed)
            scores[arm].append(run.scores["test"])
    found = compare_scores("accuracy", range(seeds), scores["from_teacher"], scores["random"])
    return {
        "task": name,
        "way": way,
        "share_of_parameters": _size(student) / _size(teacher),
        "start_accuracy": start,
        **{arm: statistics.fmean(values) for arm, values in scores.items()},
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "verdict": found.verdict,
        "epochs": task.student_epochs,
        "seconds": round(time.monotonic() - began, 1),
        "scores": scores,
    }


def _train(
    teacher: nn.Module | None, student: Any, objective: str, epochs: int, *, task: Task, home: Path, seed: int
) -> Any:
    return distill(
        teacher, student, task.data.train, task.data.validation, objective=objective, max_epochs=epochs,
        learning_rate=1e-2, schedule="one_cycle", seed=seed, directory=home / f"run-{len(list(home.iterdir()))}",
        trainer=QUIET,
    )  # fmt: skip


def _as_it_is(student: nn.Module) -> nn.Module:
    return copy.deepcopy(student).train().requires_grad_(True)


def _anew(student: nn.Module) -> nn.Module:
    """The same student with every layer drawn from the random generators, which the run has seeded."""
    fresh = _as_it_is(student)
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return fresh


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
