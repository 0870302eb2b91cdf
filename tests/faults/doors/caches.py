"""The door of `write_cache`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from knowledge_distillation.teachers import write_cache
from tests.faults.doors.door import Argument, Door, Made
from tests.faults.doors.plans import COUNT, TEMPERATURE
from tests.faults.doors.values import HUGE, NAN, NO_MAPPING, NO_NAME, NO_PATH
from tests.training.toys import Stream, loader, mlp, points

ARGUMENTS: Mapping[str, Argument] = {
    "teacher": Argument((Made(mlp),), (5, "x", None, [], mlp, nn.Linear, True)),
    "loader": Argument(
        (Made(lambda: loader(8)),),
        (5, "x", None, [], [1], Made(lambda: DataLoader([])), Made(lambda: DataLoader(Stream(points(8))))),
        (), ("dataset",),
    ),
    "directory": Argument((), NO_PATH),
    "signals": Argument(
        (("logits",), ["logits"], {"logits": "float32"}, {"logits": {"name": "top_k", "k": 2}}),
        (5, "logits", None, [5], {}, [], {"logits": 5}, {"logits": "float"}, {"logits": None}, {"logits": [1]},
         {"logits": {"name": "top_k", "k": 0}}, {"logits": {"name": "top_k", "k": "x"}}, {"logits": {"dtype": 5}},
         {"logits": {"name": "top_k", "temperature": NAN}}, {"logits": {"nam": "top_k"}}, {5: "float32"},
         {"logits": {"name": "top_k", 5: 2}}, ["logitss"]),
        (("@last",),), ("encoding", "signal"),
    ),
    "views": COUNT,
    "seed": Argument((0, 5, -1, HUGE), (1.5, "x", None, True, [], NAN)),
    "adapter": Argument(("auto",), (*NO_NAME, None, {}, ())),
    "temperature": TEMPERATURE,
    "shard_bytes": Argument((1, 2**20), COUNT.wrong),
    "engine": Argument(
        (None, {}, {"devices": 1}),
        (*NO_MAPPING, {"device": 1}, {"devices": "x"}, {"precision": "x"}, {1: 2}, {"accelerator": "cpuu"},
         {"strategy": 5}),
    ),
    "progress": Argument((None, lambda done, total: None), (5, "x", [], True)),
}  # fmt: skip


def begin(given: Mapping[str, Any], folder: Path) -> None:
    """Write the cache of eight samples."""
    arguments = {"teacher": mlp(9), "loader": loader(8), "directory": folder, **given}
    engine = given.get("engine") or {}
    if isinstance(engine, dict):
        arguments["engine"] = {"accelerator": "cpu", **engine}
    write_cache(**arguments)


DOOR = Door(begin, ARGUMENTS)
assert {*ARGUMENTS} == {*inspect.signature(write_cache).parameters}, "every argument, and no other"
