"""A teacher through every way of training: its bytes, flags and modes afterwards, and where its tensors are not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import knowledge_distillation as kd
from tests.faults.kind import Kind
from tests.faults.place import quiet_place
from tests.teachers.frozen_processes import objective
from tests.training.toys import Difficult, flags, hooks_on, loader, mlp, points

OPTIMIZERS = ("adam", "adamw", "sgd", "sgd_momentum", "adam_wav2vec2.0")
WAYS = ("plain", "accumulated", "skipped", "resumed")


def inject(number: int, folder: Path) -> None:
    """One optimiser and one way."""
    optimizer, way = OPTIMIZERS[number // len(WAYS)], WAYS[number % len(WAYS)]
    teacher = Difficult()
    before = digest(teacher), flags(teacher)
    trainer = {
        "enable_progress_bar": False,
        "accelerator": "cpu",
        "accumulate_grad_batches": 1 + (way == "accumulated"),
    }
    settings: dict[str, Any] = {
        "objective": objective(), "optimizer": optimizer, "learning_rate": 1e-2, "directory": folder / "run",
        "doctor": False, "trainer": trainer, "nonfinite": "skip" if way == "skipped" else "stop",
    }  # fmt: skip
    data = spoilt() if way == "skipped" else loader()
    with quiet_place(folder / "place"):
        run = kd.distill(teacher, mlp(), data, max_epochs=2, **settings)
        if way == "resumed":
            run = kd.distill(teacher, mlp(), data, max_epochs=3, resume="auto", **settings)
    assert run.module.trainer.global_step == {"plain": 6, "accumulated": 4, "skipped": 6, "resumed": 9}[way]
    assert digest(teacher) == before[0], "The teacher's parameters or buffers have changed."
    assert flags(teacher) == before[1], "The teacher's modes or gradient flags have changed."
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert hooks_on(teacher) == 0
    held = {id(entry) for group in run.module.trainer.optimizers[0].param_groups for entry in group["params"]}
    assert not held & {id(entry) for entry in teacher.parameters()}
    known = {contents(entry) for entry in teacher.state_dict().values() if entry.numel() > 1}
    for path in sorted(run.directory.rglob("*.ckpt")):
        saved = torch.load(path, weights_only=True)
        assert not [name for name in saved["state_dict"] if "teacher" in name]
        assert not known & {contents(entry) for entry in tensors(saved)}, f"{path} holds a tensor of the teacher."


def spoilt() -> DataLoader[Any]:
    """The usual data, with a batch that is left out."""
    inputs, labels = points().tensors
    inputs[9] = float("nan")
    return DataLoader(TensorDataset(inputs, labels), batch_size=8)


def digest(model: nn.Module) -> str:
    """SHA-256 over every parameter and buffer, with its name."""
    parts = [f"{name}:{contents(entry)}" for name, entry in [*model.named_parameters(), *model.named_buffers()]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def contents(tensor: Tensor) -> str:
    content = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return f"{tensor.dtype}{tuple(tensor.shape)}{hashlib.sha256(content).hexdigest()}"


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor) and value.numel() > 1:
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from tensors(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from tensors(entry)


KIND = Kind(
    title="a teacher with batch statistics, through five optimisers, accumulated, skipped and resumed steps",
    survives="parameters, buffers, flags and modes are the same to the bit; no optimiser and no checkpoint holds them",
    inject=inject,
    all=len(OPTIMIZERS) * len(WAYS),
    sample=4,
)
