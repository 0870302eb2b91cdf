"""The doors of what is read and written: recipes with their overrides, teacher caches, exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from knowledge_distillation.domains.data import Data
from knowledge_distillation.export import export
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe
from knowledge_distillation.teachers import write_cache
from tests.faults.door import (
    HUGE,
    INFINITY,
    NAN,
    NEGATIVE,
    NO_COUNT,
    NO_MAPPING,
    NO_NAME,
    NO_PATH,
    NOT_POSITIVE,
    Argument,
    Door,
    Made,
)
from tests.training.toys import CLASSES, FEATURES, Stream, loader, mlp, points

TINY: dict[str, Any] = {
    "teacher": {"name": "tiny"},
    "student": {"name": "tiny", "hidden": 4},
    "data": {"name": "few", "batch_size": 8},
    "objective": {"kd": {"loss": "kd", "weight": 0.9, "temperature": 4.0}, "cross_entropy": 0.1},
    "training": {
        "max_epochs": 1, "accelerator": "cpu", "doctor": False,
        "trainer": {"max_steps": 1, "enable_checkpointing": False, "enable_progress_bar": False},
    },
}  # fmt: skip


def few(*, batch_size: int = 8) -> Data:
    """Eight samples."""
    return Data(train=loader(8, batch_size=batch_size), validation={}, facts={"classes": CLASSES, "inputs": FEATURES})


def tiny(classes: int, inputs: int, hidden: int = 4) -> nn.Module:
    """A model of two layers."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))


OWN = {"few": few, "tiny": tiny}


def recipe(given: Mapping[str, Any], folder: Path) -> None:
    """Write the recipe to a file, override what is given, and run it."""
    folder.mkdir()
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    overrides = [f"{name}={text(value)}" for name, value in given.items()]
    run_recipe(
        read_recipe(path, overrides), directory=None if "training.directory" in given else folder / "run", own=OWN
    )


def text(value: Any) -> str:
    """A value as somebody would type it behind --set."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)).removesuffix("...\n")


def cache(given: Mapping[str, Any], folder: Path) -> None:
    arguments = {"teacher": mlp(9), "loader": loader(8), "directory": folder, "engine": {"accelerator": "cpu"}, **given}
    if isinstance(given.get("engine"), dict):
        arguments["engine"] = {"accelerator": "cpu", **given["engine"]}
    write_cache(**arguments)


def exported(given: Mapping[str, Any], folder: Path) -> None:
    export(**{"model": mlp(), "form": "safetensors", "directory": folder, "example": torch.randn(2, FEATURES), **given})


NOT_TEXT: tuple[Any, ...] = (5, True, [1], {}, 1.5)
DOORS: Mapping[str, Door] = {
    "recipe": Door(
        recipe,
        {
            "description": Argument(("x",), (), (5, None)),
            "teacher": Argument(("tiny", {"name": "tiny"}), (5, [1], {}, "tinny", True, {"nam": "tiny"})),
            "teacher.name": Argument(("tiny", "self"), (*NOT_TEXT, "tinny", "", None), ("ema", "ensemble")),
            "teacher.weights": Argument((None,), (5, True, [1], "gone.safetensors", "."), ("",)),
            "teacher.hidden": Argument((3, 4), (0, -1, 1.5, "x", None, True, [4], NAN, 10**15)),
            "teacher.hiden": Argument((), (4, None)),
            "student": Argument(("tiny",), (5, [1], {}, "tinny", True, None)),
            "student.name": Argument(("tiny",), (*NOT_TEXT, "tinny", "", None, "from_teacher")),
            "student.hidden": Argument((3, 4), (0, -1, 1.5, "x", None, True, [4], NAN, 10**15)),
            "data": Argument(("few",), (5, [1], {}, "fewer", True, None)),
            "data.name": Argument(("few",), (*NOT_TEXT, "fewer", "", None)),
            "data.batch_size": Argument((2, 8), (0, -1, 1.5, "x", True, [4], NAN)),
            "objective": Argument(
                ("kd", "soft", {"kd": 1}), (5, [1], {}, "kdd", True, None, {"kd": -1}, {"kdd": 1}), (), ("loss", "term")
            ),
            "objective.kd": Argument((1, "kd", {"temperature": 2}), (-1, "kdd", None, True, {"tempereture": 2}), (), (
                "weight", "loss")),
            "objective.kd.weight": Argument((1, 0.1), (*NEGATIVE[:2], "x", NAN, INFINITY, True, None, [1])),
            "objective.kd.temperature": Argument((1, 2.5), (0, -1, NAN, INFINITY, "x", True, [1])),
            "objective.kd.loss": Argument(("kd", "dkd"), (5, "kdd", None, [1], True)),
            "objective.kd.lose": Argument((), (5, None)),
            "training": Argument((), (5, [1], "x", True, {"epochs": 1})),
            "training.max_epochs": Argument((1, 2), (0, -1, 1.5, "x", True, [1], NAN, None)),
            "training.optimizer": Argument(
                ("sgd", {"name": "sgd", "momentum": 0.5}), (5, "sgdd", None, [1], True, {"name": "sgd", "momentum": "x"})
            ),
            "training.learning_rate": Argument((0.1, 1), (0, -1, NAN, INFINITY, "x", True, [1], None)),
            "training.schedule": Argument(("", "linear"), (5, "lin", None, [1], True), (), ("scheduler",)),
            "training.warm_up_epochs": Argument((0, 0.5), (-1, NAN, "x", True, [1], None)),
            "training.adapter": Argument(("auto",), (5, "autoo", None, [1], True)),
            "training.temperature": Argument((1, 2), (0, -1, NAN, "x", True, [1], None)),
            "training.seed": Argument((0, 3), (-1, 2**32, 1.5, "x", True, [1], None, 10**40)),
            "training.track": Argument(([],), ("tensorboard", 5, ["no"], True, None), (), ("tracker",)),
            "training.directory": Argument((), (5, True, [1], {}, "a" * 3000)),
            "training.speed": Argument(("off", False), (5, "fast", None, [1], {"no": 1})),
            "training.checkpoint_every": Argument((None, 5), (0, -1, 1.5, "x", True, [1])),
            "training.nonfinite": Argument(("skip",), (5, "skipp", None, [1], True)),
            "training.doctor": Argument((False,), (5, "no", None, [1])),
            "training.trainer": Argument((), (5, "x", [1], True)),
            "training.trainer.max_step": Argument((), (5,)),
            "training.precision": Argument(("32-true",), (5, "banana", [1], True)),
            "training.accumulate_grad_batches": Argument((1, 2), (0, -1, 1.5, "x", True, [1])),
            "training.gradient_clip_val": Argument((None, 1), (-1, NAN, "x", True, [1])),
            "training.deterministic": Argument((True, False), (5, "x", [1])),
            "training.devices": Argument((1,), (0, "x", 1.5, {})),
            "training.quantisation_aware": Argument((False,), (5, "x", None, {"bitts": 8}, {"bits": "x"}, {"bits": 0})),
            "training.epochs": Argument((), (5, None)),
            "method": Argument((None, "distill"), (5, "no", [1], {}, True, {"name": "born_again", "generations": 0})),
            "cache": Argument((None,), (5, "x", [1], {}, {"directory": 5}, {"directory": "c", "view": 1})),
            "sweep": Argument((None, {}), (5, "x", [1])),
            "sections": Argument((), (5, None)),
            "teacher.name.x": Argument((), (5,), (), ("name",)),
        },
    ),
    "cache": Door(
        cache,
        {
            "teacher": Argument((Made(mlp),), (5, "x", None, [], mlp, nn.Linear, True)),
            "loader": Argument(
                (Made(lambda: loader(8)),), (5, "x", None, [], [1], Made(lambda: torch.utils.data.DataLoader([])),
                Made(lambda: torch.utils.data.DataLoader(Stream(points(8))))), (), ("dataset",),
            ),
            "directory": Argument((), NO_PATH),
            "signals": Argument(
                (("logits",), ["logits"], {"logits": "float32"}, {"logits": {"name": "top_k", "k": 2}}),
                (5, "logits", None, [5], {}, [], {"logits": 5}, {"logits": "float"}, {"logits": {"name": "top_k", "k": 0}},
                 {"logits": {"name": "top_k", "k": "x"}}, {"logits": {"name": "top_k", "temperature": NAN}},
                 {"logits": {"nam": "top_k"}}, {"logits": {"name": "top_k", 5: 2}}, {5: "float32"}, ["logitss"],
                 {"logits": {"dtype": 5}}, {"logits": None}, {"logits": [1]}),
                (("@last",), {"logits": {"name": "sampled", "draws": 10**15}}), ("encoding", "signal"),
            ),
            "views": Argument((1, 2), NO_COUNT),
            "seed": Argument((0, 5, -1, HUGE), (1.5, "x", None, True, [], NAN)),
            "adapter": Argument(("auto",), (*NO_NAME, None, {}, ())),
            "temperature": Argument((1, 2.5), NOT_POSITIVE),
            "shard_bytes": Argument((1, 2**20), NO_COUNT),
            "engine": Argument(
                (None, {}, {"devices": 1}), (*NO_MAPPING, {"device": 1}, {"devices": "x"}, {"precision": "x"}, {1: 2},
                {"accelerator": "cpuu"}, {"strategy": 5}),
            ),
            "progress": Argument((None, lambda done, total: None), (5, "x", [], True)),
        },
    ),
    "export": Door(
        exported,
        {
            "model": Argument((Made(mlp),), (5, "x", None, [], mlp, nn.Linear)),
            "form": Argument(("safetensors",), (*NO_NAME, None, {}, "safetensor")),
            "directory": Argument((), NO_PATH),
            "example": Argument(
                (torch.zeros(2, FEATURES), (torch.zeros(2, FEATURES), torch.zeros(2))), (),
                (5, "x", [], {}, torch.zeros(2, 3), [5], {"x": 1}, torch.zeros(0, FEATURES)),
            ),
            "loader": Argument((None, Made(lambda: loader(8))), (5, True, [], Made(lambda: torch.utils.data.DataLoader([])))),
            "pipeline": Argument((None,), (5, "x", [], print, object)),
            "adapter": Argument(("auto",), (*NO_NAME, None, {}, ())),
            "tolerance": Argument(
                (None, 0.1, {"relative": 0.1}, 0), (-1, NAN, "x", True, [], {"relativ": 1}, {"relative": "x"}, {1: 2},
                {"relative": -1}, b"x"), (INFINITY, HUGE), ("relative",),
            ),
            "dynamic": Argument((None, {}), (5, "x", [1], True), ({"no": {0: "x"}}, {"input": 5}, {5: {}})),
            "quantisation": Argument(("auto", "static"), (*NO_NAME, None, {}, "statik")),
            "calibration": Argument((None,), (5, True), ([], "x")),
            "opset": Argument((None, 18), ("x", 1.5, [], True, NAN)),
            "card": Argument(
                (None, {}, {"name": "x"}), (5, "x", [1], {"nam": "x"}, {"name": 5}, {"tags": 5}, {"evaluation": 5},
                {1: 2}, {"license": None}, {"tags": "x"}), ({"tags": []},),
            ),
        },
    ),
}  # fmt: skip
