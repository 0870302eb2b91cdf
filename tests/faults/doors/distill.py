"""The door of `kd.distill`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation.losses import KD
from knowledge_distillation.objective import Term
from knowledge_distillation.teachers import LiveTeacher
from tests.faults.doors.door import Argument, Door, Made
from tests.faults.doors.plans import COUNT, LEARNING_RATE, OPTIMIZER, SCHEDULE, SEED, TEMPERATURE, WARM_UP
from tests.faults.doors.values import INFINITY, NAN, NO_FLAG, NO_MAPPING, NO_NAME, NO_PATH
from tests.training.toys import Scripted, loader, mlp

QUICK: dict[str, Any] = {
    "accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_checkpointing": False, "logger": False,
    "max_steps": 1,
}  # fmt: skip
NO_LOADER = (None, 5, "abc", b"abc", {"a": 1}, torch.zeros(4, 5), True, Made(lambda: mlp()))
NO_MODULE = (5, "resnet", [], {}, True, nn.Linear)
ARGUMENTS: Mapping[str, Argument] = {
    "teacher": Argument((Made(lambda: mlp(9)), Made(lambda: LiveTeacher(mlp(9)))), (*NO_MODULE, None, LiveTeacher)),
    "student": Argument(
        (Made(mlp), lambda: mlp(2)),
        (5, "resnet", [], {}, True, None, lambda: None, lambda: 5, int, lambda inputs: inputs, nn.Linear,
         Made(nn.ReLU), Made(lambda: mlp().requires_grad_(False))),
    ),
    "train_loader": Argument(
        (Made(lambda: loader(8)), Made(lambda: [tuple(loader(8).dataset.tensors)])),
        (*NO_LOADER, [], (), Made(lambda: DataLoader([]))), ([None], ["x"], [{}]), ("train loader", "batch"),
    ),
    "val_loaders": Argument(
        (None, {}, Made(lambda: {"dev": loader(8)})),
        (5, "dev", [1], True, {"dev": 5}, {"": [1]}, {" ": [1]}, {5: [1]}, {"a:b": [1]}, {"dev": "abc"}, {"epoch": [1]},
         {"step": [1]}, {"dev": []}, Made(lambda: loader(8))),
        (), ("validation loader",),
    ),
    "pipeline": Argument(
        (None, Made(lambda: Scripted(1, 1, 1))), (5, "x", [], {}, 0, False, Scripted, print, object())
    ),
    "objective": Argument(
        ("kd", "soft", "labels", "dkd", "logit_mse", KD(2.0), Term(KD(2.0), 0.5), {"kd": 1, "cross_entropy": 2},
         {"kd": 1, "cross_entropy": 1, "balance": "gradient_norm"}),
        (*NO_NAME, None, NAN, {}, {"kd": -1}, {"kd": NAN}, {"kd": None}, {"kd": True}, {"kd": 0}, {"kdd": 1},
         {"kd": {"loss": "kdd"}}, {"kd": {"loss": 5}}, {"kd": {"weight": "1"}}, {"kd": 1, "balance": "even"},
         {"kd": 1, "balance": ["x"]}, {"kd": 1, "balance": True}),
        ({"kd": {"loss": "kd", "reduction": "none"}}, print), ("loss", "term"),
    ),
    "max_epochs": COUNT,
    "seed": SEED,
    "optimizer": OPTIMIZER,
    "learning_rate": LEARNING_RATE,
    "schedule": SCHEDULE,
    "warm_up_epochs": WARM_UP,
    "adapter": Argument(
        ("auto",), (*NO_NAME, None, {}, (), ("auto", "auto"), (print,), "autoo"),
        (print, lambda model, batch, temperature: None),
    ),
    "temperature": TEMPERATURE,
    "directory": Argument((), (*NO_PATH, "")),
    "resume": Argument((None, ""), (*NO_PATH, 0, False, [], "auto", "gone.ckpt"), (), ("checkpoint",)),
    "checkpoint_every": Argument((None, 1, 100), (0, -1, 1.5, NAN, "1", True, [], {}, INFINITY)),
    "nonfinite": Argument(("stop", "skip", "rollback"), (*NO_NAME, None, "skipp", {})),
    "track": Argument(((), []), ("tensorboard", None, 5, ["no"], [5], [[]], [None], True), (), ("tracker",)),
    "speed": Argument(
        ("off", False, {}, {"channels_last": True}),
        (*NO_NAME, None, {"channel_last": True}, {"channels_last": 1}, {"compile": "all"}, {"compile": []},
         {"teacher_precision": 16}, {1: 2}),
    ),
    "doctor": Argument((False,), NO_FLAG),
    "trainer": Argument((None, {}), (*NO_MAPPING, {1: 2}, {"no": 1}, [], "", 0, False)),
}  # fmt: skip


def begin(given: Mapping[str, Any], folder: Path) -> None:
    """Distil for one step."""
    usual = {
        "teacher": mlp(9), "student": mlp(1), "train_loader": loader(8), "directory": folder, "doctor": False,
        "max_epochs": 1,
    }  # fmt: skip
    arguments: dict[str, Any] = {**usual, **given}
    trainer = arguments.get("trainer")
    if trainer is None or (isinstance(trainer, dict) and all(isinstance(key, str) for key in trainer)):
        arguments["trainer"] = {**QUICK, **(trainer or {})}
    kd.distill(arguments.pop("teacher"), arguments.pop("student"), **arguments)


DOOR = Door(begin, ARGUMENTS)
assert {*ARGUMENTS} == {*inspect.signature(kd.distill).parameters}, "every argument, and no other"
