"""The doors of a training: `distill`, the original's front door, objectives, optimisers, and Lightning's settings."""

from __future__ import annotations

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
from tests.contract import toy
from tests.faults.door import (
    HUGE,
    INFINITY,
    NAN,
    NEGATIVE,
    NO_COUNT,
    NO_FLAG,
    NO_MAPPING,
    NO_NAME,
    NO_NUMBER,
    NO_PATH,
    NOT_POSITIVE,
    Argument,
    Door,
    Made,
)
from tests.training.toys import Scripted, loader, mlp, quiet_trainer

QUICK: dict[str, Any] = {
    "accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_checkpointing": False, "logger": False,
    "max_steps": 1,
}  # fmt: skip
NO_LOADER = (None, 5, "abc", b"abc", {"a": 1}, torch.zeros(4, 5), True, Made(lambda: mlp()))
NO_MODULE = (5, "resnet", [], {}, True, nn.Linear)
WARM_UP = Argument((0, 0.5, 1), NEGATIVE, (5, 1e300), ("warm_up",))
LEARNING_RATE = Argument((1e-3, 1, 0.5), NOT_POSITIVE, (1e30,))
OPTIMIZER = Argument(
    ("sgd", "adam", "adamw", "sgd_momentum", "adam_distilBert", {"name": "sgd", "momentum": 0.9}, torch.optim.RMSprop),
    (
        *NO_NAME, None, {}, NAN, "adamm", "AdamW", int, print, lambda parameters, lr: None, nn.Linear,
        {"name": "sgd", "momentum": NAN}, {"name": "sgd", "momentum": True}, {"name": "sgd", "momentun": 0.9},
        {"name": "sgd", "nesterov": "yes"}, {"name": "adamw", "betas": (2, 3)}, {"name": "adamw", "betas": 0.9},
        {"name": "adamw", "betas": [0.9]}, {"name": "adamw", "betas": None}, {"name": "adamw", "eps": -1},
        {"name": "adamw", "weight_decay": INFINITY}, {"name": "adamw", "weight_decay": "0"}, {"name": "adamw", 1: 2},
        {"name": "adam", "lr": 1}, {"name": "adam", "fused": True, "foreach": True}, {"name": ["sgd"]},
        {"name": "adam", "differentiable": True}, {"name": "adam", "weight_decay": HUGE},
    ),
    ({"name": "sgd", "maximize": True}, {"name": "adam", "capturable": True}),
)  # fmt: skip
SCHEDULE = Argument(
    ("", "linear", "cosine", "constant", "linear_decay_with_warm_up", "cosine_anneal", "one_cycle"),
    (*(name for name in NO_NAME if name != ""), None, NAN, {}, "cosin", int, lambda: None),
    (lambda optimizer, **planned: None, lambda optimizer, **planned: (1, "step"), print),
    ("scheduler",),
)
COUNT = Argument((1, 2), NO_COUNT)
SEED = Argument((0, 1, 2**32 - 1), (-1, 2**32, 1.5, HUGE, INFINITY, *NO_NUMBER))
TRAINER: Mapping[str, Argument] = {
    "accumulate_grad_batches": Argument((1, 2), (0, -1, 1.5, "2", True, NAN, [], {})),
    "log_every_n_steps": Argument((1, 50), (0, -1, 1.5, "2", True, NAN, [], {})),
    "gradient_clip_val": Argument((None, 0.5, 1), (-1, NAN, INFINITY, "1", True, [1], HUGE)),
    "gradient_clip_algorithm": Argument((None,), ("nrom", 5, [], True)),
    "precision": Argument(("32-true", 32, "bf16-mixed"), ("banana", 8, True, [16], NAN, {})),
    "max_epochs": Argument((1, 2), (-2, 1.5, "2", NAN, [], {})),
    "max_steps": Argument((1,), (-2, 1.5, "2", NAN, [], True, {})),
    "limit_train_batches": Argument((1, 1.0, 0.5), (-1, -0.5, 1.5, "x", NAN, [], True)),
    "limit_val_batches": Argument((0, 1, 1.0), (-1, 1.5, "x", NAN, [], True)),
    "val_check_interval": Argument((1.0, 1), (-1, 1.5, NAN, [], True, "x")),
    "check_val_every_n_epoch": Argument((1, 2), (0, -1, 1.5, "x", NAN, [], True)),
    "num_sanity_val_steps": Argument((0, 1), (-2, 1.5, "x", NAN, [], True, None), (None,)),
    "deterministic": Argument((False, True, "warn"), ("yes", 2, NAN, [])),
    "accelerator": Argument(("cpu", "auto"), ("cpuu", 5, [], {}, True, "")),
    "devices": Argument((1, "auto"), (0, "x", {}, 1.5, [0.5], NAN, None, -7), (True, [0], "1")),
    "strategy": Argument(("auto",), ("ddpp", 5, [], {}, True, None, "")),
    "num_nodes": Argument((1,), (0, -1, 1.5, "x", [], None)),
    "callbacks": Argument((None, []), (5, "x", [5], {"a": 1}, [None], True)),
    "plugins": Argument((None, []), (5, "x", [5], True)),
    "logger": Argument((False,), (5, "x", [5])),
    "profiler": Argument(("simple",), (5, "x", [], {})),
    "max_time": Argument((None, {"hours": 1}), ("x", 5, [], {"hour": 1}, NAN)),
    "fast_dev_run": Argument((False,), ("x", -1, 1.5, [], NAN)),
    "overfit_batches": Argument((0.0,), (-1, 1.5, "x", NAN, [])),
    "detect_anomaly": Argument((False, True), (5, "x", []), (None,)),
    "max_epoch": Argument((), (1, None, "x")),
    "accumulate_grad_batchess": Argument((), (1, None, "x")),
    "weights": Argument((), (1, None, "x")),
}
REDUCED = {"kd": {"loss": "kd", "reduction": "none"}}


def distill(given: Mapping[str, Any], folder: Path) -> None:
    arguments: dict[str, Any] = {
        "teacher": mlp(9), "student": mlp(1), "train_loader": loader(8), "directory": folder, "doctor": False,
        "max_epochs": 1, **given,
    }  # fmt: skip
    trainer = arguments.get("trainer")
    if trainer is None or (isinstance(trainer, dict) and all(isinstance(key, str) for key in trainer)):
        arguments["trainer"] = {**QUICK, **(trainer or {})}
    kd.distill(arguments.pop("teacher"), arguments.pop("student"), **arguments)


def settings_of_the_trainer(given: Mapping[str, Any], folder: Path) -> None:
    distill({"trainer": dict(given), "val_loaders": {"dev": loader(8)}}, folder)


def front_door(given: Mapping[str, Any], folder: Path) -> None:
    made = toy.training(**{"train_data_loader": toy.inputs_loader(4), **given})
    made.trainer.fit_loop.epoch_loop.max_steps = 1
    made.start_kd_training()


def module(given: Mapping[str, Any], folder: Path) -> None:
    made = kd.DistillationModule(**{"student": mlp(1), "teacher": mlp(9), "train_loader": loader(8), **given})
    quiet_trainer(max_steps=1).fit(made)


def objective(given: Mapping[str, Any], folder: Path) -> None:
    module({"objective": {"own_name": {"loss": "kd", **given}, "cross_entropy": 0.1}}, folder)


DOORS: Mapping[str, Door] = {
    "distill": Door(
        distill,
        {
            "teacher": Argument(
                (Made(lambda: mlp(9)), Made(lambda: LiveTeacher(mlp(9)))), (*NO_MODULE, None, LiveTeacher), ()
            ),
            "student": Argument(
                (Made(mlp), lambda: mlp(2)),
                (
                    5,
                    "resnet",
                    [],
                    {},
                    True,
                    None,
                    lambda: None,
                    lambda: 5,
                    int,
                    lambda inputs: inputs,
                    nn.Linear,
                    Made(nn.ReLU),
                    Made(lambda: mlp().requires_grad_(False)),
                ),
            ),
            "train_loader": Argument(
                (Made(lambda: loader(8)), Made(lambda: [tuple(loader(8).dataset.tensors)])),
                (*NO_LOADER, [], (), Made(lambda: DataLoader([]))),
                ([None], ["x"], [{}]),
                ("train loader",),
            ),
            "val_loaders": Argument(
                (None, {}, Made(lambda: {"dev": loader(8)})),
                (
                    5,
                    "dev",
                    [1],
                    True,
                    {"dev": 5},
                    {"": [1]},
                    {" ": [1]},
                    {5: [1]},
                    {"a:b": [1]},
                    {"dev": "abc"},
                    {"epoch": [1]},
                    {"step": [1]},
                    {"kd": [1]},
                    {"dev": []},
                    Made(lambda: loader(8)),
                ),
                (),
                ("validation loader",),
            ),
            "pipeline": Argument(
                (None, Made(lambda: Scripted(1, 1, 1))), (5, "x", [], {}, 0, False, Scripted, print, object())
            ),
            "objective": Argument(
                (
                    "kd",
                    "soft",
                    "labels",
                    "dkd",
                    "logit_mse",
                    KD(2.0),
                    Term(KD(2.0), 0.5),
                    {"kd": 1, "cross_entropy": 2},
                    {"kd": 1, "cross_entropy": 1, "balance": "gradient_norm"},
                ),
                (
                    *(name for name in NO_NAME if name != ["kd"]),
                    None,
                    NAN,
                    {},
                    ["kd"],
                    {"kd": -1},
                    {"kd": NAN},
                    {"kd": None},
                    {"kd": True},
                    {"kd": 0},
                    {"kd": {"loss": "kdd"}},
                    {"kd": {"loss": 5}},
                    {"kd": {"weight": "1"}},
                    {"kd": 1, "balance": "even"},
                    {"kd": 1, "balance": ["x"]},
                    {"kd": 1, "balance": True},
                    {"kdd": 1},
                ),
                (REDUCED, print),
                ("loss", "term"),
            ),
            "max_epochs": COUNT,
            "seed": SEED,
            "optimizer": OPTIMIZER,
            "learning_rate": LEARNING_RATE,
            "schedule": SCHEDULE,
            "warm_up_epochs": WARM_UP,
            "adapter": Argument(
                ("auto",),
                (*NO_NAME, None, {}, (), ("auto", "auto"), (print,), 5, "autoo"),
                ("original", print, lambda model, batch, temperature: None),
            ),
            "temperature": Argument((1, 2.5), NOT_POSITIVE),
            "directory": Argument((), NO_PATH + ("",)),
            "resume": Argument((None, ""), (*NO_PATH, 0, False, [], "auto", "gone.ckpt"), (), ("checkpoint",)),
            "checkpoint_every": Argument((None, 1, 100), (0, -1, 1.5, NAN, "1", True, [], {}, INFINITY)),
            "nonfinite": Argument(("stop", "skip", "rollback"), (*NO_NAME, None, "skipp", {})),
            "track": Argument(((), []), ("tensorboard", None, 5, ["no"], [5], [[]], [None], True), (), ("tracker",)),
            "speed": Argument(
                ("off", False, {}, {"channels_last": True}),
                (
                    *NO_NAME,
                    None,
                    5,
                    {"channel_last": True},
                    {"channels_last": 1},
                    {"compile": "all"},
                    {"compile": []},
                    {"teacher_precision": 16},
                    {1: 2},
                ),
            ),
            "doctor": Argument((False,), NO_FLAG),
            "trainer": Argument((None, {}), (*NO_MAPPING, {1: 2}, {"no": 1}, [], "", 0, False)),
        },
    ),  # fmt: skip
    "trainer": Door(settings_of_the_trainer, TRAINER),
    "front door": Door(
        front_door,
        {
            "num_gpu_used": Argument((0,), (-1, 1.5, HUGE, *NO_NUMBER, 10**6)),
            "max_epoch": Argument((1, 2), NO_COUNT, (), ("max_epochs",)),
            "optimize_method": Argument(OPTIMIZER.right, OPTIMIZER.wrong, OPTIMIZER.odd, ("optimizer",)),
            "scheduler_method": Argument(SCHEDULE.right, SCHEDULE.wrong, SCHEDULE.odd, ("scheduler", "schedule")),
            "learning_rate": LEARNING_RATE,
            "num_lr_warm_up_epoch": WARM_UP,
            "final_loss_coeff_dict": Argument(
                ({"kd_loss": 1}, {"kd_loss": 1, "cos_embed_loss": 0.5}),
                (
                    *NO_MAPPING,
                    {},
                    [],
                    {1: 1},
                    {"kd_loss": NAN},
                    {"kd_loss": -1},
                    {"kd_loss": "1"},
                    {"kd_loss": True},
                    {"kd_loss": None},
                    {"kd_los": 1},
                    {"train_logit_diff": 1},
                    {"kd_loss": HUGE},
                    {"": 1},
                ),
                (None,),
                ("weight", "loss"),
            ),
            "log_to_comet": Argument((False,), ("no", 5, [], NAN, None), (0, 1)),
            "comet_info_path": Argument(("", "x", Path("x")), (5, [], None, True)),
            "comet_exp_name": Argument(("", "x"), (5, [], None, True)),
            "temperature": Argument((1, 2.5), NOT_POSITIVE),
            "seed": SEED,
            "track_grad_norm": Argument((2, 1.5, -1, INFINITY), ("two", -2, NAN, True, [2], None, {}, 0)),
            "accumulate_grad_batches": COUNT,
            "accelerator": Argument((None, "cpu", "auto"), ("ddp_cuda", 3, ["gpu"], {}, True, "")),
            "num_nodes": Argument((1,), NO_COUNT),
            "precision": Argument((16, 32, "32", "bf16-mixed", "bf16"), (8, "banana", True, [16], None, NAN, {}, HUGE)),
            "deterministic": Argument((True, False, "warn"), ("yes", 2, 1, 0, None, [], NAN)),
            "resume_from_checkpoint": Argument((None, ""), (*NO_PATH, "gone.ckpt", 0, False, []), (), ("checkpoint",)),
            "train_data_loader": Argument(
                (Made(lambda: toy.inputs_loader(4)),),
                (*NO_LOADER, [], Made(lambda: DataLoader([]))),
                (),
                ("train loader", "train_loader"),
            ),
            "val_data_loaders": Argument(
                (None,),
                (5, "dev", [1], True, {"dev": 5}, {"": [1]}, {5: [1]}, {"epoch": [1]}),
                (),
                ("val_loaders", "validation loader"),
            ),
            "inference_pipeline": Argument((None,), (), (5, "x")),
            "student_model": Argument((Made(toy.Student), toy.Student), (*NO_MODULE[:-1], None, lambda: 5)),
            "teacher_model": Argument((Made(toy.Teacher),), (*NO_MODULE, None, toy.Teacher)),
            "logging_param": Argument((None, {}, {"note": 1}), (5, [1], "text", True)),
        },
    ),  # fmt: skip
    "module": Door(
        module,
        {
            "gradient_norm": Argument((None, 2.0, 1, INFINITY), (0, -1, NAN, "x", True, [], {}, HUGE)),
            "optimizer": OPTIMIZER,
            "schedule": SCHEDULE,
            "learning_rate": LEARNING_RATE,
            "warm_up_epochs": WARM_UP,
        },
    ),  # fmt: skip
    "term": Door(
        objective,
        {
            "loss": Argument(("kd", "logit_mse", "dist", KD(3.0)), (*NO_NAME, None, "kdd", {}, 5), (print, int)),
            "weight": Argument((1, 0.5, 0), NEGATIVE),
            "student": Argument(("logits",), (5, None, True, [], {}, (), "logitss", "", [5], "hidden.1"), ("head",)),
            "teacher": Argument(("logits",), (5, None, True, [], {}, (), "logitss", "", [5], "hidden.1"), ("head",)),
            "projector": Argument((None, "linear", "auto"), (5, True, [], {}, "", "line", b"x", NAN), (print,)),
            "schedule": Argument(
                (None, "linear", {"name": "warm_up", "share": 0.5}),
                (
                    5,
                    "line",
                    [],
                    True,
                    {},
                    {"name": "linear", "start": NAN},
                    {"name": "linear", "strat": 1},
                    {"name": 5},
                    {"name": "linear", "start": -1},
                    lambda progress: NAN,
                    lambda progress: "x",
                ),
                (print, lambda: 1),
            ),
            "temperature": Argument(
                (1, 4.0, {"name": "linear", "start": 1, "end": 4}),
                (0, -1, NAN, INFINITY, "1", True, [], {}, HUGE, {"name": "linear", "start": -1}),
            ),
            "views": Argument((None,), (5, "al", [], {}, True, "")),
            "changes": Argument((None, {}), (5, "x", [1], {"no": "linear"}, {"temperature": 5}, {5: 5}, True)),
            "reduction": Argument(("mean", "sum"), (5, "mena", None, True, [], "")),
            "temprature": Argument((), (1, None)),
        },
    ),  # fmt: skip
}
