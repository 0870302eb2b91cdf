"""NaN and infinity, put in at twelve places of a training, under each of the three policies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import knowledge_distillation as kd
from knowledge_distillation.errors import NonFiniteError
from knowledge_distillation.objective import Objective, Term
from knowledge_distillation.objective.presets.logits import OfTargets
from knowledge_distillation.training.nonfinite import IN_A_ROW, POLICIES
from tests.faults.kind import Kind
from tests.faults.place import quiet_place
from tests.training.toys import CLASSES, FEATURES, filled, mlp, points

BAD, BATCHES, ROWS = 2, 16, 8
"""The batch that is spoilt, of how many, of so many rows; more follow than may be left out in a row."""
NAN, INFINITY = float("nan"), float("inf")


class Spoilt(nn.Module):
    """A model whose output, or that of its layer, is changed in one of its forwards in training."""

    def __init__(self, layer: str = "", change: Callable[[Tensor], Tensor] = lambda output: output * NAN) -> None:
        super().__init__()
        self.hidden, self.norm, self.head = nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)
        filled(self, 3)
        self.layer, self.change, self.calls = layer, change, -1

    def forward(self, inputs: Tensor) -> Any:
        self.calls += 1
        hidden = self.hidden(inputs)
        logits: Tensor = self.head(torch.relu(self.norm(hidden)))
        own = logits.square().mean()
        if self.calls == BAD:
            logits = self.change(logits) if self.layer == "logits" else logits
            own = self.change(own) if self.layer == "own" else own
        return {"logits": logits, "loss": {"own": own}}


class SpoiltLayer(nn.Linear):
    """A layer that gives infinity in one of its calls."""

    calls = -1

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(inputs) + (INFINITY if self.calls == BAD else 0.0)


class At(Callback):
    """Changes the module before the spoilt batch, and looks at its parameters after each."""

    def __init__(self, change: Callable[[kd.DistillationModule], Any] = lambda module: None) -> None:
        self.change = change
        self.finite: list[bool] = []
        self.moved: list[bool] = []
        self._before: list[Tensor] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == BAD:
            self.change(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = [parameter.detach().clone() for parameter in pl_module.parameters()]
        self.finite.append(all(bool(torch.isfinite(parameter).all()) for parameter in now))
        self.moved.append(not self._before or not all(map(torch.equal, now, self._before)))
        self._before = now


@dataclass(frozen=True)
class Point:
    """A place where something that is not finite comes in.

    Attributes:
        arguments: of `distill`, made anew.
        goes_on: the policies under which the training ends as planned.
        is_left_out: whether the step is left out then.
    """

    arguments: Callable[[], dict[str, Any]]
    goes_on: tuple[str, ...] = ("skip", "rollback")
    is_left_out: bool = True


def data(*, inputs: float = 0.0, targets: bool = False) -> DataLoader[Any]:
    """The batches, of which one holds what is not finite among its inputs or its targets."""
    rows, labels = points(BATCHES * ROWS).tensors
    values = torch.zeros(len(rows), CLASSES)
    if inputs:
        rows[BAD * ROWS, 0] = inputs
    if targets:
        values[BAD * ROWS, 0] = NAN
    return DataLoader(TensorDataset(rows, values if targets else labels), batch_size=ROWS)


def with_hook(choose: Callable[[kd.DistillationModule], Tensor]) -> At:
    """The gradient of one parameter is not finite in the spoilt batch."""
    return At(lambda module: _once(choose(module)))


def _once(parameter: Any) -> None:
    handle = parameter.register_hook(lambda gradient: (handle.remove(), gradient * INFINITY)[1])


def spoil(tensor: Tensor, value: float) -> None:
    with torch.no_grad():
        tensor.view(-1)[0] = value


def rates(optimizer: Any, **planned: Any) -> tuple[LambdaLR, str]:
    return LambdaLR(optimizer, lambda step: INFINITY if step == BAD else 1.0), "step"


def teacher_with_layer() -> nn.Module:
    model = mlp(9)
    model.hidden = SpoiltLayer(FEATURES, 8)
    return model


def balanced() -> Objective:
    made = Objective({"kd": 1.0, "cross_entropy": 1.0}, balance="gradient_norm")
    made.balance.every = 1
    return made


HINT = {"cross_entropy": 1.0, "hint": {"loss": "hint", "student": "hidden", "teacher": "hidden"}}
MONITOR = {"kd": 1.0, "watched": Term(lambda student, teacher: student.mean() * NAN, 0)}
POINTS: Mapping[str, Point] = {
    "data": Point(lambda: {"train_loader": data(inputs=NAN)}),
    "teacher's answer": Point(lambda: {"teacher": Spoilt("logits")}),
    "teacher's features": Point(lambda: {"teacher": teacher_with_layer(), "objective": HINT}),
    "student's weights": Point(
        lambda: {"callbacks": [At(lambda module: spoil(module.student_model.head.weight, NAN))]}, ("rollback",)
    ),
    "loss": Point(
        lambda: {
            "student": Spoilt("own", lambda own: own + INFINITY),
            "objective": {"kd": 1, "own": {"loss": "own", "student": "own"}},
        }
    ),
    "one gradient": Point(lambda: {"callbacks": [with_hook(lambda module: module.student_model.hidden.bias)]}),
    "batch statistics": Point(
        lambda: {"callbacks": [At(lambda module: spoil(module.student_model.norm.running_var, INFINITY))]},
        is_left_out=False,
    ),
    "labels": Point(lambda: {"train_loader": data(targets=True), "objective": Term(OfTargets("smooth_l1"))}),
    "learning rate": Point(lambda: {"schedule": rates}),
    "half precision": Point(
        lambda: {"student": Spoilt("logits", lambda logits: logits * 3e38), "precision": "bf16-mixed"}
    ),
    "a learned part of the objective": Point(lambda: {"train_loader": data(inputs=INFINITY), "objective": balanced()}),
    "a monitor": Point(lambda: {"objective": MONITOR}, POLICIES, is_left_out=False),
}


def inject(number: int, folder: Path) -> None:
    """One place and one policy."""
    point, policy = list(POINTS.values())[number // len(POLICIES)], POLICIES[number % len(POLICIES)]
    given = point.arguments()
    watch = given.pop("callbacks", [At()])
    trainer = {"callbacks": watch, "log_every_n_steps": 4, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer |= {"precision": given.pop("precision")} if "precision" in given else {}
    student = given.pop("student", Spoilt())
    settings = {
        "train_loader": data(), "objective": "kd", "max_epochs": 1, "nonfinite": policy,
        "checkpoint_every": None if policy == "skip" else 1, "directory": folder / "run", "doctor": False,
        "trainer": trainer, **given,
    }  # fmt: skip
    said = ""
    with quiet_place(folder / "place"):
        try:
            run = kd.distill(settings.pop("teacher", mlp(9)), student, settings.pop("train_loader"), **settings)
        except NonFiniteError as error:
            said = str(error)
    goes_on = policy in point.goes_on
    assert goes_on == (said == ""), said or "It went on."
    if goes_on:
        assert watch[0].finite == [True] * BATCHES
        assert [place for place, moved in enumerate(watch[0].moved) if not moved] == [BAD] * point.is_left_out
        assert finite(run.module.state_dict())
    elif policy == "skip":
        assert re.search(f"{IN_A_ROW} steps in a row", said)
    saved = sorted((folder / "run").rglob("*.ckpt"))
    assert saved or not goes_on
    for path in saved:
        content = torch.load(path, weights_only=True)
        assert finite(content["state_dict"]), path
        assert all(finite(state) for group in content["optimizer_states"] for state in group["state"].values()), path
    for path in (folder / "run").glob("*.safetensors"):
        assert finite(load_file(path))


def finite(state: Mapping[str, Any]) -> bool:
    return all(bool(torch.isfinite(entry).all()) for entry in state.values() if isinstance(entry, Tensor))


KIND = Kind(
    title="NaN or infinity in data, teacher, weights, loss, gradient, statistics, labels, rate, half precision",
    survives="the optimiser never moves on it and nothing that is written holds it; skipped or rolled back, it goes on",
    inject=inject,
    all=len(POINTS) * len(POLICIES),
    sample=6,
)
