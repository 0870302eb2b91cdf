"""Images on a GPU: ResNet-50 teaches ResNet-18 at 224 px in bfloat16, beside the original toolkit's way to train.

Three trainings of this toolkit with its fastest setting, and one of the original's step: with a live teacher, with the
teacher's logits given in the batch, and with labels only. Batches lie on the device, so that the step alone is timed.
Without a GPU the result is {"skipped": ...}; `--device cpu --size 32 --batch 4 --steps 4 --rounds 1` runs the code.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from benchmarks.peers.lightning_fit import fit
from benchmarks.peers.original import KnowledgeDistillModel
from benchmarks.peers.pairs import LEARNING_RATE
from benchmarks.peers.toolkit import settled
from benchmarks.report import progress
from benchmarks.timing.clock import Clock
from benchmarks.timing.rounds import FIGURE, interleaved, ratio, summary
from knowledge_distillation.capture.adapters import auto
from knowledge_distillation.errors import MissingExtraError
from knowledge_distillation.signals import Signals
from knowledge_distillation.training.module import DistillationModule

CLASSES = 1000
ARMS = ("online", "cached", "labels_only")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--speed", default="auto", help="this toolkit's argument of that name")
    parser.add_argument("--size", type=int, default=224, help="pixels of an image's side")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=5)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.device == "cuda" and not torch.cuda.is_available():
        return {"skipped": "no CUDA device"}
    batches = make_batches(arguments)
    device = {"accelerator": "gpu" if arguments.device == "cuda" else "cpu", "devices": 1}
    settings = {**device, "precision": "bf16-mixed"}
    arms: dict[str, LightningModule] = {"original": original()}
    chosen = {}
    for name in ARMS:
        arms[name], chosen[name], seconds = settled(
            partial(ours, name), arguments.speed, lambda module: fit(module, batches[:2], **settings)
        )
        progress(f"{name}: speed {chosen[name]}, found in {seconds:.1f} s")

    def timed(name: str) -> float:
        # models may be compiled on the first batch of a training
        clock = Clock(batches, skip=min(3, arguments.steps - 2), now=clock_of(arguments.device))
        fit(arms[name], clock, **settings)
        return clock.seconds_a_step

    calls = {name: partial(timed, name) for name in arms}
    interleaved(calls, 1, label="warm-up")
    times = interleaved(calls, arguments.rounds)
    return {
        "online_ratio_to_original": round(ratio(times["original"], times["online"]), 4),
        "cached_ratio_to_labels_only": round(ratio(times["cached"], times["labels_only"]), 4),
        "images_a_second": {name: round(1e3 * arguments.batch / min(values)) for name, values in times.items()},
        "milliseconds_a_step": {name: summary(values) for name, values in times.items()},
        "speed": arguments.speed,
        "speed_chosen": chosen,
        "device": arguments.device,
        "size": arguments.size,
        "batch": arguments.batch,
        "steps": arguments.steps,
        "rounds": arguments.rounds,
        "figure": FIGURE,
    }


def models() -> tuple[nn.Module, nn.Module]:
    """torchvision's ResNet-50 and ResNet-18, untrained."""
    try:
        from torchvision.models import resnet18, resnet50
    except ImportError as error:
        raise MissingExtraError(
            "ResNet-50 and ResNet-18 need torchvision. Run `make bench`, which installs it."
        ) from error
    torch.manual_seed(0)
    return resnet50(weights=None).eval(), resnet18(weights=None)


def original() -> LightningModule:
    teacher, student = models()
    return OnTriples(student, teacher)


class OnTriples(KnowledgeDistillModel):
    """The original's module on (images, logits, labels), whose logits it does not see."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch[0], batch[2]), batch_idx)


def ours(arm: str, *, speed: Any) -> DistillationModule:
    """This toolkit's module: with a live teacher, logits in the batch, or no teacher."""
    live, student = models()
    teachers: dict[str, Any] = {"online": live, "cached": GivenLogits(), "labels_only": None}
    return DistillationModule(
        student,
        teachers[arm],
        "labels" if arm == "labels_only" else "kd",
        optimizer="sgd",
        learning_rate=LEARNING_RATE,
        adapter=(without_logits, without_logits),
        speed=speed,
    )


class GivenLogits:
    """A teacher whose logits come with the batch (images, logits, labels) as from a loader that reads a cache."""

    fingerprint = "given with the batch"

    def prepare(self, device: torch.device) -> None:
        """There is nothing to move."""

    def signals(self, batch: Any, wanted: Sequence[str] = ()) -> Signals:
        return Signals(logits=batch[1], labels=batch[2])

    def release(self) -> None:
        """There is nothing to undo."""


def without_logits(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """A model's signals on (images, logits, labels), of which it sees the images."""
    return auto(model, (batch[0], batch[2]), temperature)


def make_batches(arguments: argparse.Namespace) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Random images, a teacher's logits and labels on the device; two batches, over and over."""
    generator = torch.Generator().manual_seed(1)
    shape = (arguments.batch, 3, arguments.size, arguments.size)
    kept = []
    for _ in range(2):
        images = torch.randn(shape, generator=generator).to(arguments.device)
        logits = torch.randn(arguments.batch, CLASSES, generator=generator).to(arguments.device)
        labels = torch.randint(0, CLASSES, (arguments.batch,), generator=generator).to(arguments.device)
        kept.append((images, logits, labels))
    return [kept[number % 2] for number in range(arguments.steps)]


def clock_of(device: str) -> Callable[[], float]:
    if device == "cpu":
        return time.perf_counter

    def after_the_device() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return after_the_device
