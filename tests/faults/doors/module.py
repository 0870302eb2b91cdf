"""The doors of `DistillationModule`: what a user's own Trainer is handed, and one term of an objective."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import knowledge_distillation as kd
from knowledge_distillation.losses import KD
from tests.faults.doors.door import Argument, Door
from tests.faults.doors.plans import LEARNING_RATE, OPTIMIZER, SCHEDULE, WARM_UP
from tests.faults.doors.values import HUGE, INFINITY, NAN, NEGATIVE, NO_NAME
from tests.training.toys import loader, mlp, quiet_trainer

SIGNAL = Argument(("logits",), (5, None, True, [], {}, (), "logitss", [5], "hidden.1"), ("head", ""))
TERM: Mapping[str, Argument] = {
    "loss": Argument(("kd", "logit_mse", "dist", KD(3.0)), (*NO_NAME, None, "kdd", {}), (print,)),
    "weight": Argument((1, 0.5, 0), NEGATIVE),
    "student": SIGNAL,
    "teacher": SIGNAL,
    "projector": Argument((None, "linear", "auto"), (5, True, [], {}, "", "line", b"x", NAN), (print,)),
    "schedule": Argument(
        (None, "linear", {"name": "warm_up", "share": 0.5}),
        (5, "line", [], True, {}, {"name": "linear", "start": NAN}, {"name": "linear", "strat": 1}, {"name": 5},
         {"name": "linear", "start": -1}, lambda progress: NAN, lambda progress: "x"),
        (print, lambda: 1),
    ),
    "temperature": Argument(
        (1, 4.0, {"name": "linear", "start": 1, "end": 4}),
        (0, -1, NAN, INFINITY, "1", True, [], {}, HUGE, {"name": "linear", "start": -1}),
    ),
    "views": Argument((None,), (5, "al", [], {}, True, "")),
    "changes": Argument((None, {}), (5, "x", [1], {"no": "linear"}, {"temperature": 5}, {5: 5}, True)),
    "gather": Argument((False, True), (5, "no", None, [], 1)),
    "reduction": Argument(("mean", "sum"), (5, "mena", None, True, [], "")),
    "temprature": Argument((), (1, None)),
}  # fmt: skip
PLAN: Mapping[str, Argument] = {
    "gradient_norm": Argument((None, 2.0, 1, INFINITY), (0, -1, NAN, "x", True, [], {}, HUGE)),
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
    "learning_rate": LEARNING_RATE,
    "warm_up_epochs": WARM_UP,
}


def begin(given: Mapping[str, Any], folder: Path) -> None:
    """Fit for one step."""
    module = kd.DistillationModule(**{"student": mlp(1), "teacher": mlp(9), "train_loader": loader(8), **given})
    quiet_trainer(max_steps=1).fit(module)


def begin_term(given: Mapping[str, Any], folder: Path) -> None:
    """The same, with one term as it is given."""
    begin({"objective": {"own_name": {"loss": "kd", **given}, "cross_entropy": 0.1}}, folder)


MODULE_DOOR = Door(begin, PLAN)
TERM_DOOR = Door(begin_term, TERM)
