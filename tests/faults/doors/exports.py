"""The door of `export`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from knowledge_distillation.export import export
from tests.faults.doors.door import Argument, Door, Made
from tests.faults.doors.values import HUGE, INFINITY, NAN, NO_NAME, NO_PATH
from tests.training.toys import FEATURES, loader, mlp

ROWS = torch.zeros(2, FEATURES)
NOTHING = Made(lambda: DataLoader([]))
ARGUMENTS: Mapping[str, Argument] = {
    "model": Argument((Made(mlp),), (5, "x", None, [], mlp, nn.Linear)),
    "form": Argument(("safetensors",), (*NO_NAME, None, {}, "safetensor")),
    "directory": Argument((), NO_PATH),
    "example": Argument(
        (ROWS, (ROWS, torch.zeros(2))), (), (5, "x", [], {}, ROWS[:, :3], [5], {"x": 1}, ROWS[:0]), ("batch",),
    ),
    "loader": Argument((None, Made(lambda: loader(8))), (5, True, [], NOTHING)),
    "pipeline": Argument((None,), (5, "x", [], print, object)),
    "adapter": Argument(("auto",), (*NO_NAME, None, {}, ())),
    "tolerance": Argument(
        (None, 0.1, {"relative": 0.1}, 0),
        (-1, NAN, "x", True, [], {"relativ": 1}, {"relative": "x"}, {1: 2}, {"relative": -1}, b"x"),
        (INFINITY, HUGE), ("relative",),
    ),
    "dynamic": Argument((None, {}), (5, "x", [1], True), ({"no": {0: "x"}}, {"input": 5}, {5: {}})),
    "quantisation": Argument(("auto", "static"), (*NO_NAME, None, {}, "statik")),
    "calibration": Argument((None,), (5, True), ([], "x")),
    "opset": Argument((None, 18), ("x", 1.5, [], True, NAN)),
    "card": Argument(
        (None, {}, {"name": "x"}),
        (5, "x", [1], {"nam": "x"}, {"name": 5}, {"tags": 5}, {"evaluation": 5}, {1: 2}, {"license": None},
         {"tags": "x"}),
        ({"tags": []},),
    ),
}  # fmt: skip


def begin(given: Mapping[str, Any], folder: Path) -> None:
    """Write the student as safetensors."""
    export(**{"model": mlp(), "form": "safetensors", "directory": folder, "example": ROWS, **given})


DOOR = Door(begin, ARGUMENTS)
assert {*ARGUMENTS} == {*inspect.signature(export).parameters}, "every argument, and no other"
