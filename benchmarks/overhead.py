"""What the toolkit adds to a training step: against a minimal Lightning Trainer, and against a bare loop.

All three train the same tiny MLP with the same batches, the same two loss functions and the same optimiser. Rounds
are interleaved; each figure is the median of rounds, and the ratio is the median of the ratios within rounds.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from benchmarks.report import progress
from knowledge_distillation import DistillationModule, losses

TEMPERATURE, SOFT_WEIGHT, LEARNING_RATE = 4.0, 0.9, 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=1000, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=9)


def models() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
    return teacher, nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def plain_loss(student: nn.Module, teacher: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        taught = teacher(images)
    said = student(images)
    soft = losses.kd(said, taught, temperature=TEMPERATURE)
    return SOFT_WEIGHT * soft + (1 - SOFT_WEIGHT) * losses.cross_entropy(said, labels=labels)


class Minimal(LightningModule):
    """The least Lightning code that does this training."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.aside = [teacher]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return plain_loss(self.student, self.aside[0], *batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.student.parameters(), lr=LEARNING_RATE)


def bare(batches: list[Any]) -> float:
    teacher, student = models()
    optimizer = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE)
    started = time.perf_counter()
    for images, labels in batches:
        optimizer.zero_grad()
        plain_loss(student, teacher, images, labels).backward()
        optimizer.step()
    return time.perf_counter() - started


class Clock:
    """Batches that remember when the first and the last were asked for: steps without the Trainer's start and end."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches
        self.moments: list[float] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.moments.append(time.perf_counter())
            yield batch

    @property
    def seconds(self) -> float:
        return self.moments[-1] - self.moments[0]


def with_lightning(module: LightningModule, batches: list[Any]) -> float:
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    clock = Clock(batches)
    trainer.fit(module, clock)
    return clock.seconds


def minimal(batches: list[Any]) -> float:
    teacher, student = models()
    return with_lightning(Minimal(student, teacher), batches)


def toolkit(batches: list[Any]) -> float:
    teacher, student = models()
    return with_lightning(DistillationModule(student, teacher, "kd", learning_rate=LEARNING_RATE), batches)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    batches = [(torch.randn(32, 64), torch.randint(0, 10, (32,))) for _ in range(arguments.steps)]
    arms: dict[str, Callable[[list[Any]], float]] = {"bare": bare, "lightning": minimal, "toolkit": toolkit}
    for arm in arms.values():
        arm(batches[:100])
    times: dict[str, list[float]] = {name: [] for name in arms}
    order = list(arms)
    for number in range(arguments.rounds):
        for name in order if number % 2 == 0 else reversed(order):
            times[name].append(1e6 * arms[name](batches) / arguments.steps)
        progress(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.0f} us" for name, values in times.items()))

    def ratio(to: str) -> float:
        return statistics.median(ours / theirs for ours, theirs in zip(times["toolkit"], times[to], strict=True))

    return {
        "ratio_to_lightning": round(ratio("lightning"), 4),
        "ratio_to_loop": round(ratio("bare"), 4),
        "microseconds_added": round(
            statistics.median(ours - theirs for ours, theirs in zip(times["toolkit"], times["lightning"], strict=True)),
            1,
        ),
        "microseconds_a_step": {
            name: {"min": round(min(v), 1), "median": round(statistics.median(v), 1)} for name, v in times.items()
        },
        "ratio_of_minima_to_lightning": round(min(times["toolkit"]) / min(times["lightning"]), 4),
        "steps": arguments.steps,
        "rounds": arguments.rounds,
        "figure": "median of the ratios within interleaved rounds",
    }
