"""What the classic methods reach with one pair of models and one budget: last and best epoch, several seeds, control.

On CIFAR-10 (--data: torchvision's root, or an .npz with train_jpeg, train_offsets, train_labels and the same for test)
a ResNet-56 teaches a ResNet-20; meant for a GPU, where --parallel runs share the card. Without --data a CNN teaches a
narrower CNN on Fashion-MNIST (or the digits), on a CPU; the student then sees few labels.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from benchmarks.report import progress
from knowledge_distillation.domains.vision.data import digits, fashion_mnist
from knowledge_distillation.domains.vision.models import digits_cnn, resnet20, resnet56, small_cnn
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import AT, DKD, KD, CrossEntropy
from knowledge_distillation.objective import Term
from knowledge_distillation.objective.schedules import warm_up
from knowledge_distillation.run import distill

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSIC = ("labels", "kd", "dkd_cifar10", "lskd", "at", "at_kd", "sp", "rkd", "best")
AT_TERM = Term(AT(distance="mean_squared"), 1000.0, "@stages", "@stages")
OWN_OBJECTIVES: dict[str, Any] = {
    # For ten classes the DKD authors' non-target weight of 8 is too large; 2 is the usual choice.
    "dkd_cifar10": lambda: {"cross_entropy": 1.0, "dkd": Term(DKD(4.0, nontarget_weight=2.0), schedule=warm_up(0.25))},
    "best": lambda: {
        "at": AT_TERM,
        "kd": Term(KD(4.0), weight=1.0),
        "cross_entropy": Term(CrossEntropy(), weight=0.1),
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", help="CIFAR-10: torchvision's root or an .npz file of JPEG bytes")
    parser.add_argument("--teacher", help="safetensors file of the ResNet-56; trained here when absent")
    parser.add_argument("--methods", default=",".join(CLASSIC), help="presets, comma-separated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="default 20 on CIFAR-10, 4 otherwise")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--schedule", default="one_cycle")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--parallel", type=int, default=1, help="runs that share the device")
    parser.add_argument("--job", help=argparse.SUPPRESS)


class Images:
    """A loader that holds its images on the device and crops and flips there.

    Yields {"images", "labels", "index"}; `augment` shifts by up to 4 pixels and mirrors, a new draw each epoch.
    """

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, augment: bool) -> None:
        self.padded = nn.functional.pad(images, (4, 4, 4, 4)) if augment else images
        self.labels = labels
        self.batch_size = batch_size
        self.augment = augment
        self.dataset = labels

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size if self.augment else -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        device = self.labels.device
        order = (
            torch.randperm(len(self.labels)).to(device)
            if self.augment
            else torch.arange(len(self.labels), device=device)
        )
        size = self.padded.shape[-1] - (8 if self.augment else 0)
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
        line = torch.arange(size, device=device)
        for number in range(len(self)):
            index = order[number * self.batch_size : (number + 1) * self.batch_size]
            images = self.padded[index]
            if self.augment:
                down, right = torch.randint(0, 9, (2, len(index), 1), device=device)
                flip = torch.rand(len(index), 1, device=device) < 0.5
                rows = down + line
                columns = torch.where(flip, right + size - 1 - line, right + line)
                images = images.gather(2, rows[:, None, :, None].expand(-1, 3, -1, images.shape[-1]))
                images = images.gather(3, columns[:, None, None, :].expand(-1, 3, size, -1))
            images = (images.float() / 255 - mean) / std
            yield {
                "images": images.contiguous(memory_format=torch.channels_last),
                "labels": self.labels[index],
                "index": index,
            }


class Scores(Callback):
    """The score after every epoch."""

    def __init__(self) -> None:
        self.by_epoch: list[float] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.by_epoch.append(pl_module.scores["test"])


def objective_of(method: str) -> Any:
    return OWN_OBJECTIVES[method]() if method in OWN_OBJECTIVES else method


def decode(path: Path) -> dict[str, Tensor]:
    """CIFAR-10 as uint8 [N, 3, 32, 32] and labels, for train and test."""
    if path.suffix == ".npz":
        from PIL import Image

        stored = np.load(path, allow_pickle=False)
        found = {}
        for part in ("train", "test"):
            content, bounds = stored[f"{part}_jpeg"].tobytes(), stored[f"{part}_offsets"]
            pictures = [np.asarray(Image.open(io.BytesIO(content[a:b])).convert("RGB")) for a, b in pairwise(bounds)]
            found[f"{part}_images"] = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
            found[f"{part}_labels"] = torch.from_numpy(stored[f"{part}_labels"].astype(np.int64))
        return found
    from torchvision.datasets import CIFAR10

    found = {}
    for part, train in (("train", True), ("test", False)):
        data = CIFAR10(path, train=train)
        found[f"{part}_images"] = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        found[f"{part}_labels"] = torch.tensor(data.targets)
    return found


def train(
    teacher: nn.Module | None,
    student: nn.Module,
    loaders: tuple[Any, Any],
    objective: Any,
    arguments: argparse.Namespace,
    epochs: int,
    seed: int,
    weight_decay: float = 5e-4,
) -> list[float]:
    scores = Scores()
    with tempfile.TemporaryDirectory() as folder:
        distill(
            teacher,
            student.to(memory_format=torch.channels_last),
            loaders[0],
            {"test": loaders[1]},
            objective=objective,
            max_epochs=epochs,
            optimizer={"name": "sgd", "momentum": 0.9, "weight_decay": weight_decay, "nesterov": True},
            learning_rate=arguments.learning_rate,
            schedule=arguments.schedule,
            directory=Path(folder) / "run",
            seed=seed,
            trainer={
                "callbacks": [scores],
                "logger": False,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "devices": 1,
                "gradient_clip_val": 5.0,
                **({"precision": "bf16-mixed"} if torch.cuda.is_available() else {"accelerator": "cpu"}),
            },
        )
    return scores.by_epoch


def cifar_job(arguments: argparse.Namespace, job: dict[str, Any]) -> list[float]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stored = {name: tensor.to(device) for name, tensor in torch.load(job["images"], weights_only=True).items()}
    loaders = (
        Images(stored["train_images"], stored["train_labels"], arguments.batch_size, augment=True),
        Images(stored["test_images"], stored["test_labels"], 1000, augment=False),
    )
    torch.manual_seed(job["seed"])
    student = resnet56() if job["method"] == "teacher" else resnet20()
    teacher = None
    if job["method"] not in ("teacher", "labels"):
        teacher = resnet56()
        load_model(teacher, job["teacher"])
        teacher = teacher.to(memory_format=torch.channels_last)
    objective = "labels" if job["method"] == "teacher" else objective_of(job["method"])
    scores = train(teacher, student, loaders, objective, arguments, job["epochs"], job["seed"])
    if job["method"] == "teacher":
        save_model(student, job["teacher"])
    return scores


def small_job(arguments: argparse.Namespace, job: dict[str, Any]) -> list[float]:
    """The teacher learns every label of 6,000 images; the students see the same images with 500 labels."""
    labelled = None if job["method"] == "teacher" else 500
    try:
        data = fashion_mnist(batch_size=64, limit=6000, labelled=labelled, seed=job["seed"])
        make_teacher, make_student = small_cnn, partial(small_cnn, width=8)
    except ConfigError:
        data = digits(batch_size=32, labelled=labelled and 100, seed=job["seed"])
        make_teacher, make_student = digits_cnn, partial(small_cnn, width=4)
    loaders = (data.train, data.validation["test"])
    if job["method"] == "teacher":
        torch.manual_seed(0)
        teacher = make_teacher()
        scores = train(None, teacher, loaders, "labels", arguments, 4, 0)
        save_model(teacher, job["teacher"])
        return scores
    teacher = make_teacher()
    load_model(teacher, job["teacher"])
    torch.manual_seed(job["seed"])
    student = make_student()
    taught = None if job["method"] == "labels" else teacher
    return train(taught, student, loaders, objective_of(job["method"]), arguments, job["epochs"], job["seed"])


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    if arguments.job:
        job = json.loads(arguments.job)
        torch.set_num_threads(1)
        scores = cifar_job(arguments, job) if job["images"] else small_job(arguments, job)
        return {"scores": scores}
    epochs = arguments.epochs or (20 if arguments.data else 4)
    methods = arguments.methods.split(",")
    with tempfile.TemporaryDirectory() as folder:
        job: dict[str, Any] = {"images": "", "teacher": f"{folder}/teacher.safetensors", "epochs": epochs}
        if arguments.data:
            torch.save(decode(Path(arguments.data)), f"{folder}/images.pt")
            job["images"] = f"{folder}/images.pt"
        teacher_scores = None
        if arguments.teacher:
            job["teacher"] = str(Path(arguments.teacher).resolve())
        else:
            progress("training the teacher")
            plan = {**job, "method": "teacher", "seed": 0, "epochs": 100 if arguments.data else 4}
            teacher_scores = work_through([plan], arguments)[0]
        jobs = [{**job, "method": method, "seed": seed} for seed in range(arguments.seeds) for method in methods]
        results = work_through(jobs, arguments)
    rows = []
    for method in methods:
        mine = [scores for job, scores in zip(jobs, results, strict=True) if job["method"] == method]
        rows.append(
            {
                "method": method,
                **summary("last_epoch", [s[-1] for s in mine]),
                **summary("best_epoch", [max(s) for s in mine]),
            }
        )
    control = next((row["last_epoch_mean"] for row in rows if row["method"] == "labels"), None)
    return {
        "data": "CIFAR-10, ResNet-56 to ResNet-20"
        if arguments.data
        else "Fashion-MNIST (else digits), CNN to narrower CNN, 6,000 images with 500 labels",
        "epochs": epochs,
        "batch_size": arguments.batch_size if arguments.data else 64,
        "learning_rate": arguments.learning_rate,
        "schedule": arguments.schedule,
        "seeds": arguments.seeds,
        "teacher_last_epoch": teacher_scores[-1] if teacher_scores else None,
        "control": control,
        "rows": rows,
        "figure": "accuracy in percent on the test images; mean and standard deviation over seeds",
    }


def summary(name: str, values: list[float]) -> dict[str, Any]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {
        f"{name}_mean": round(100 * statistics.fmean(values), 3),
        f"{name}_spread": None if spread is None else round(100 * spread, 3),
        f"{name}_all": [round(100 * value, 2) for value in values],
    }


def work_through(jobs: list[dict[str, Any]], arguments: argparse.Namespace) -> list[list[float]]:
    """Run every job in a process of its own, `parallel` at a time; results in the order of the jobs."""
    waiting = list(enumerate(jobs))
    running: dict[int, tuple[subprocess.Popen[str], float]] = {}
    results: dict[int, list[float]] = {}
    settings = [
        "--learning-rate", str(arguments.learning_rate), "--schedule", arguments.schedule,
        "--batch-size", str(arguments.batch_size),
    ]  # fmt: skip
    while waiting or running:
        while waiting and len(running) < arguments.parallel:
            number, job = waiting.pop(0)
            command = [sys.executable, "-m", "benchmarks", "quality", "--json", "--job", json.dumps(job), *settings]
            running[number] = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True), time.monotonic())
        for number, (process, started) in list(running.items()):
            if process.poll() is None:
                continue
            output = process.stdout.read() if process.stdout else ""
            if process.returncode:
                raise RuntimeError(f"{jobs[number]['method']} seed {jobs[number]['seed']} failed; see above")
            results[number] = json.loads(output.strip().splitlines()[-1])["scores"]
            del running[number]
            progress(
                f"{jobs[number]['method']} seed {jobs[number]['seed']}: last {100 * results[number][-1]:.2f}, best "
                f"{100 * max(results[number]):.2f} ({time.monotonic() - started:.0f} s)"
            )
        time.sleep(0.2)
    return [results[number] for number in range(len(jobs))]
