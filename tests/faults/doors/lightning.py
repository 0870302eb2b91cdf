"""The door of Lightning's settings: `trainer={...}` of `kd.distill`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.doors import distill
from tests.faults.doors.door import Argument, Door
from tests.faults.doors.values import HUGE, INFINITY, NAN
from tests.training.toys import loader

ARGUMENTS: Mapping[str, Argument] = {
    "accumulate_grad_batches": Argument((1, 2), (0, -1, 1.5, "2", True, NAN, [], {})),
    "log_every_n_steps": Argument((1, 50), (0, -1, 1.5, "2", True, NAN, [], {})),
    "gradient_clip_val": Argument((None, 0.5, 1), (-1, NAN, INFINITY, "1", True, [1], HUGE)),
    "gradient_clip_algorithm": Argument((None,), ("nrom", 5, [], True)),
    "precision": Argument(("32-true", 32, "bf16-mixed"), ("banana", 8, True, [16], NAN, {})),
    "max_epochs": Argument((1, 2), (-2, 1.5, "2", NAN, [], {})),
    "max_steps": Argument((1,), (-2, 1.5, "2", NAN, [], True, {})),
    "limit_train_batches": Argument((1, 1.0), (-1, -0.5, 1.5, "x", NAN, [], True)),
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


def begin(given: Mapping[str, Any], folder: Path) -> None:
    """Distil for one step, with a validation."""
    distill.begin({"trainer": dict(given), "val_loaders": {"dev": loader(8)}}, folder)


DOOR = Door(begin, ARGUMENTS)
