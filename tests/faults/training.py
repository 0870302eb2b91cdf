"""A small training with everything that must be continued, to break off in many ways, and a digest of what it leaves.

`python -m tests.faults.training DIRECTORY NUMBER RESUME`, or the code `PROGRAM` with these arguments.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import knowledge_distillation as kd
from tests.run.stopping import jittered
from tests.run.test_distill import Noisy
from tests.training.toys import QUIET, loader, mlp

OPTIMIZERS = ("sgd_momentum", "adam", "adamw", "adam_distilBert", "sgd")
SCHEDULES = ("cosine_anneal", "one_cycle", "linear_decay_with_warm_up")
BATCHES, EPOCHS = 6, 4
PROGRAM = "from tests.faults.training import main; main()"


def train(directory: Path, number: int, *, resume: str | None = None, **changes: Any) -> kd.Run:
    """One of the settings by its number, from a student with dropout and batch statistics.

    Args:
        directory: of the run.
        number: decides optimizer, schedule, loader workers and accumulation.
        resume: as of `distill`.
        changes: other arguments of `distill`.
    """
    accumulated = 2 if number % 4 == 3 else 1
    arguments: dict[str, Any] = {
        "train_loader": jittered(number % 5 // 4 * 2),
        "val_loaders": {"test": loader(16, seed=5)},
        "objective": {"kd": 1.0, "cross_entropy": 0.5, "learned": kd.Term("ctkd", weight=0.1)},
        "optimizer": OPTIMIZERS[number % len(OPTIMIZERS)],
        "schedule": SCHEDULES[number % len(SCHEDULES)],
        "learning_rate": 0.01,
        "max_epochs": EPOCHS,
        "checkpoint_every": 2,
        "doctor": False,
        **changes,
    }
    trainer = {**QUIET, "log_every_n_steps": 1, "accumulate_grad_batches": accumulated, **changes.get("trainer", {})}
    return kd.distill(mlp(9), Noisy(), directory=directory, resume=resume, **{**arguments, "trainer": trainer})


def main() -> None:
    directory, number, resume = sys.argv[1:4]
    print("begins", flush=True)
    train(Path(directory), int(number), resume=resume or None)


def digest(directory: Path) -> str:
    """Of weights, optimiser, schedule, generators, learned parts, counters, and the log, in a finished run."""
    last = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    last.pop("callbacks")  # they name the directory
    found = hashlib.sha256()
    _feed(found, last)
    for name in ("student.safetensors", "metrics.csv"):
        found.update((directory / name).read_bytes())
    return found.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(repr(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _feed(digest, entry)
    else:
        digest.update(repr(value).encode())


if __name__ == "__main__":
    main()
