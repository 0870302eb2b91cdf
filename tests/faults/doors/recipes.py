"""The door of recipes: a file, and what is set on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from knowledge_distillation.domains.data import Data
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe
from tests.faults.doors.door import Argument, Door
from tests.faults.doors.values import INFINITY, NAN
from tests.training.toys import CLASSES, FEATURES, loader

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
MORE_THAN_ANY_MEMORY = 10**15
NO_SECTION = (5, [1], {}, True)
NO_TEXT = (5, True, [1], {}, 1.5)
NO_SIZE = (0, -1, 1.5, "x", None, True, [4], NAN, MORE_THAN_ANY_MEMORY)
NO_COUNT = (0, -1, 1.5, "x", True, [1])
NO_RATE = (0, -1, NAN, "x", True, [1], None)
ARGUMENTS: Mapping[str, Argument] = {
    "description": Argument(("x",), (), (5, None)),
    "teacher": Argument(("tiny", {"name": "tiny"}), (*NO_SECTION, "tinny", {"nam": "tiny"}), (), ("model",)),
    "teacher.name": Argument(
        ("tiny", "self"), (*NO_TEXT, "tinny", "", None), ("ema", "ensemble"), ("teacher", "model")
    ),
    "teacher.weights": Argument((None,), (5, True, [1], "gone.safetensors", "."), ("",)),
    "teacher.hidden": Argument((3, 4), NO_SIZE),
    "teacher.hiden": Argument((), (4, None)),
    "teacher.name.x": Argument((), (5,), (), ("name",)),
    "student": Argument(("tiny",), (*NO_SECTION, "tinny", None), (), ("model",)),
    "student.name": Argument(("tiny",), (*NO_TEXT, "tinny", "", None, "from_teacher"), (), ("student", "model")),
    "student.hidden": Argument((3, 4), NO_SIZE),
    "data": Argument(("few",), (*NO_SECTION, "fewer", None)),
    "data.name": Argument(("few",), (*NO_TEXT, "fewer", "", None), (), ("data",)),
    "data.batch_size": Argument((2, 8), NO_SIZE[:-2]),
    "objective": Argument(
        ("kd", "soft", {"kd": 1}), (*NO_SECTION, "kdd", {"kd": -1}, {"kdd": 1}), (None,), ("loss", "term")
    ),
    "objective.kd": Argument(
        (1, "kd", {"temperature": 2}), (-1, "kdd", None, True, {"tempereture": 2}), (), ("weight", "loss")
    ),
    "objective.kd.weight": Argument((1, 0.1), (-1, -1e-30, "x", NAN, INFINITY, True, None, [1])),
    "objective.kd.temperature": Argument((1, 2.5), (0, -1, NAN, INFINITY, "x", True, [1])),
    "objective.kd.loss": Argument(("kd", "dkd"), (5, "kdd", None, [1], True)),
    "objective.kd.lose": Argument((), (5, None)),
    "training": Argument((), (5, [1], "x", True, {"epochs": 1})),
    "training.max_epochs": Argument((1, 2), (*NO_COUNT, NAN, None)),
    "training.optimizer": Argument(
        ("sgd", {"name": "sgd", "momentum": 0.5}), (5, "sgdd", None, [1], True, {"name": "sgd", "momentum": "x"})
    ),
    "training.learning_rate": Argument((0.1, 1), (*NO_RATE, INFINITY)),
    "training.schedule": Argument(("", "linear"), (5, "lin", None, [1], True), (), ("scheduler",)),
    "training.warm_up_epochs": Argument((0, 0.5), NO_RATE[1:]),
    "training.adapter": Argument(("auto",), (5, "autoo", None, [1], True)),
    "training.temperature": Argument((1, 2), NO_RATE),
    "training.seed": Argument((0, 3), (-1, 2**32, 1.5, "x", True, [1], None, 10**40)),
    "training.track": Argument(([],), ("tensorboard", 5, ["no"], True, None), (), ("tracker",)),
    "training.directory": Argument((), (5, True, [1], {}, "a" * 3000)),
    "training.speed": Argument(("off", False), (5, "fast", None, [1], {"no": 1})),
    "training.checkpoint_every": Argument((None, 5), NO_COUNT),
    "training.nonfinite": Argument(("skip",), (5, "skipp", None, [1], True)),
    "training.doctor": Argument((False,), (5, "no", None, [1])),
    "training.trainer": Argument((), (5, "x", [1], True)),
    "training.trainer.max_step": Argument((), (5,)),
    "training.precision": Argument(("32-true",), (5, "banana", [1], True)),
    "training.accumulate_grad_batches": Argument((1, 2), NO_COUNT),
    "training.gradient_clip_val": Argument((None, 1), (-1, NAN, "x", True, [1])),
    "training.deterministic": Argument((True, False), (5, "x", [1])),
    "training.devices": Argument((1,), (0, "x", 1.5, {})),
    "training.quantisation_aware": Argument((False,), (5, "x", None, {"bitts": 8}, {"bits": "x"}, {"bits": 0})),
    "training.epochs": Argument((), (5, None)),
    "method": Argument((None, "distill"), (*NO_SECTION, "no", {"name": "born_again", "generations": 0})),
    "cache": Argument((None,), (5, "x", [1], {}, {"directory": 5}, {"directory": "c", "view": 1})),
    "sweep": Argument((None, {}), (5, "x", [1])),
    "sections": Argument((), (5, None)),
}  # fmt: skip


def few(*, batch_size: int = 8) -> Data:
    """Eight samples."""
    return Data(train=loader(8, batch_size=batch_size), validation={}, facts={"classes": CLASSES, "inputs": FEATURES})


def tiny(classes: int, inputs: int, hidden: int = 4) -> nn.Module:
    """A model of two layers."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def begin(given: Mapping[str, Any], folder: Path) -> None:
    """Write the recipe to a file, override what is given, and run it."""
    folder.mkdir()
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    recipe = read_recipe(path, [f"{name}={typed(value)}" for name, value in given.items()])
    run_recipe(
        recipe, directory=None if "training.directory" in given else folder / "run", own={"few": few, "tiny": tiny}
    )


def typed(value: Any) -> str:
    """A value as somebody would type it behind --set."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return str(text).strip().removesuffix("\n...")


DOOR = Door(begin, ARGUMENTS)
