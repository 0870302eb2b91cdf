"""How often the control arm's verdict is wrong, and how often it finds a teacher that helps.

Three kinds of comparison on one tiny task with few labels, every student trained as `Run.compare` trains its arms:
with a good teacher; with a random teacher, another untrained network in every comparison; and with nothing between the
arms, where both are controls of different seeds. In the last "helped" and "hurt" are nominally 2.5% each.
"""

from __future__ import annotations

import argparse
import functools
import logging
import math
import multiprocessing
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import progress
from knowledge_distillation.evaluation.arms import DISTILLED, Trial, compare_arms
from knowledge_distillation.training.bare import train_bare
from knowledge_distillation.training.plan import TrainingPlan

FEATURES, CLASSES, SAMPLES, LABELLED, TEST, BATCH, EPOCHS = 8, 4, 256, 16, 1000, 64, 5
CHUNK = 20
NOMINAL = 0.025
"""The share of "helped" where the teacher makes no difference: one side of a 95% interval."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--comparisons", type=int, default=200, help="of each kind")
    parser.add_argument("--seeds", type=int, default=3, help="pairs in each comparison")


class Shuffled:
    """Batches of two tensors in an order drawn from torch's generator."""

    def __init__(self, inputs: Tensor, labels: Tensor, size: int) -> None:
        self.inputs, self.labels, self.size = inputs, labels, size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.randperm(len(self.inputs)).split(self.size):
            yield self.inputs[part], self.labels[part]

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.size)


def network(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))


@functools.cache
def task() -> tuple[Shuffled, list[tuple[Tensor, Tensor]], nn.Module]:
    """Training batches of which few samples carry a label, test batches, and a teacher that knows every label."""
    torch.manual_seed(0)
    inputs = torch.randn(SAMPLES + TEST, FEATURES)
    with torch.no_grad():
        labels = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES))(2 * inputs).argmax(-1)
    teacher = network(64)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(teacher(inputs), labels).backward()
        optimizer.step()
    few = labels[:SAMPLES].clone()
    few[LABELLED:] = -100
    return Shuffled(inputs[:SAMPLES], few, BATCH), [(inputs[SAMPLES:], labels[SAMPLES:])], teacher


def plan(kind: str, seed: int, teacher_seed: int) -> TrainingPlan:
    train, test, teacher = task()
    if kind == "random":
        torch.manual_seed(10**6 + teacher_seed)
        teacher = network(64)
    return TrainingPlan(
        teacher=None if kind == "control" else teacher,
        student=functools.partial(network, 12),
        train_loader=train,
        val_loaders={"accuracy": test},
        pipeline=None,
        objective="labels" if kind == "control" else "kd",
        max_epochs=EPOCHS,
        optimizer="adamw",
        learning_rate=5e-2,
        schedule="",
        warm_up_epochs=0.0,
        adapter="auto",
        temperature=1.0,
        seed=seed,
        speed="off",
        trainer={"accelerator": "cpu", "devices": 1},
    )


@dataclass(frozen=True)
class Job:
    kind: str
    seeds: range
    pairs: int


def scores(job: Job) -> list[float]:
    """The score of every seed of a job, in a process of its own."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    made = [train_bare(plan(job.kind, seed, seed // job.pairs).kept().again(), Path(".")) for seed in job.seeds]
    return [one.scores["accuracy"] for one in made]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    started = time.monotonic()
    pairs, count = arguments.seeds, arguments.comparisons * arguments.seeds
    # the good teacher's pairs have seeds of their own, so that their controls are others than the random teacher's
    wanted = {("control", 0): range(count), ("random", 0): range(count)}
    wanted |= {(kind, 1): range(count, 2 * count) for kind in ("control", "good")}
    jobs = [
        (key, Job(key[0], seeds[start : start + CHUNK], pairs))
        for key, seeds in wanted.items()
        for start in range(0, count, CHUNK)
    ]
    found: dict[tuple[str, int], list[float]] = {key: [] for key in wanted}
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for number, ((key, _), made) in enumerate(
            zip(jobs, pool.map(scores, [job for _, job in jobs]), strict=True), 1
        ):
            found[key] += made
            progress(f"{number} of {len(jobs)} parts, {time.monotonic() - started:.0f} s")
    random = verdicts(found["random", 0], found["control", 0], pairs)
    good = verdicts(found["good", 1], found["control", 1], pairs)
    null = verdicts(found["control", 0], found["control", 1], pairs)
    return {
        "comparisons": arguments.comparisons,
        "seeds": pairs,
        "false_positive_share": random["helped"],
        "true_positive_share": good["helped"],
        "false_positive_interval": wilson(random["helped"], arguments.comparisons),
        "true_positive_interval": wilson(good["helped"], arguments.comparisons),
        "nominal_share": NOMINAL,
        "chance_margin": round(1.96 * math.sqrt(NOMINAL * (1 - NOMINAL) / arguments.comparisons), 4),
        "random_teacher": random,
        "good_teacher": good,
        "no_difference": null,
        "mean_score": {f"{kind}_{part}": round(sum(made) / len(made), 4) for (kind, part), made in found.items()},
        "trainings": sum(map(len, found.values())),
        "seconds": round(time.monotonic() - started, 1),
        "figure": "share of comparisons with each verdict, from the 95% paired t interval at equal steps; the false "
        "positives are 'helped' with an untrained teacher, the true ones with a good teacher and few labels; "
        "intervals are Wilson's at 95%, and a share that is truly nominal lies within its chance margin in 95% of runs",
    }


def wilson(share: float, count: int) -> list[float]:
    """The 95% interval of a share of so many, after Wilson (1927), J. Am. Stat. Assoc. 22."""
    spread = 1.96**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return [round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)]


def verdicts(taught: list[float], alone: list[float], pairs: int) -> dict[str, float]:
    """The share of each verdict over comparisons of so many pairs."""
    told: Counter[str] = Counter()
    for start in range(0, len(taught), pairs):

        def train(seed: int, arm: str, steps: int | None) -> Trial:
            return Trial((taught if arm == DISTILLED else alone)[seed], 1)

        told[compare_arms(train, range(start, start + pairs), at_equal_time=False, resolution=1 / TEST).verdict] += 1
    return {verdict: round(told[verdict] * pairs / len(taught), 4) for verdict in ("helped", "no evidence", "hurt")}
