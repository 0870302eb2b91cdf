"""A step with a cached teacher against a step with labels alone, and with the teacher online.

ResNet-56 teaches ResNet-20 on real images of clothes, 32 x 32 x 3, cropped and mirrored at random. All three arms run
`DistillationModule` in a Trainer over the same DataLoader settings; the cached arm replays the views that the teacher
saw, checks every one, and computes the distillation loss. Rounds are interleaved.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset

from benchmarks.report import progress
from benchmarks.timing.clock import Clock
from benchmarks.timing.rounds import FIGURE, interleaved, ratio, summary
from knowledge_distillation import DistillationModule
from knowledge_distillation.domains.vision import fashion_mnist, resnet20, resnet56
from knowledge_distillation.teachers import CachedTeacher, LiveTeacher, Teacher, write_cache


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=12, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--folder", help="where the Fashion-MNIST files lie")


class Clothes(Dataset[Any]):
    """Images [3, 32, 32], cropped and mirrored at random, and their labels."""

    def __init__(self, count: int, folder: str | None) -> None:
        images, labels = fashion_mnist(limit=count, folder=folder).train.dataset.tensors  # type: ignore[attr-defined]
        self.images, self.labels = pad(images, (6, 6, 6, 6)).expand(-1, 3, -1, -1), labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        top, left, mirrored = torch.randint(9, (2,)).tolist() + torch.randint(2, (1,)).tolist()
        image = self.images[index][:, top : top + 32, left : left + 32]
        return image.flip(-1) if mirrored else image, self.labels[index]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    data = Clothes((arguments.steps + 3) * arguments.batch_size, arguments.folder)
    loader = DataLoader(data, batch_size=arguments.batch_size, shuffle=True)
    teacher = resnet56().eval()
    with tempfile.TemporaryDirectory() as folder:
        write_cache(teacher, loader, folder, views=2)
        progress(f"a cache of {2 * len(data)} views is written")
        cached = CachedTeacher(folder, teacher=teacher)
        arms = {
            "labels": (None, "labels", loader),
            "cached": (cached, "kd", cached.loader(loader)),
            "online": (LiveTeacher(teacher), "kd", loader),
        }
        turns = {name: partial(step_seconds, *arm) for name, arm in arms.items()}
        interleaved(turns, 1, label="warm-up")
        times = interleaved(turns, arguments.rounds)
    return {
        "ratio": round(ratio(times["cached"], times["labels"]), 4),
        "ratio_online": round(ratio(times["online"], times["labels"]), 4),
        "ratio_of_minima": round(min(times["cached"]) / min(times["labels"]), 4),
        "milliseconds_a_step": {name: summary(values) for name, values in times.items()},
        "batch_size": arguments.batch_size,
        "steps": arguments.steps,
        "rounds": arguments.rounds,
        "figure": FIGURE,
    }


def step_seconds(teacher: Teacher | None, objective: str, loader: DataLoader[Any]) -> float:
    """Seconds a step of one epoch, data included."""
    torch.manual_seed(0)
    batches = Clock(loader, skip=2)
    module = DistillationModule(resnet20(), teacher, objective, optimizer="sgd", learning_rate=0.01)
    quiet_trainer().fit(module, batches)
    return batches.seconds_a_step


def quiet_trainer() -> Trainer:
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
