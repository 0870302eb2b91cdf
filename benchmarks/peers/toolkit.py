"""This toolkit's arm: `DistillationModule` in a Lightning Trainer, with the settings of `kd.distill`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from benchmarks.peers.lightning_fit import fit
from benchmarks.peers.pairs import LEARNING_RATE, Pair
from benchmarks.peers.plain import flat, hinton
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.trainer import NoProfiler


class _Hinton:
    """The bare loop's loss as a term of an objective."""

    needs = ("labels",)

    def __call__(self, student: Tensor, teacher: Tensor, *, labels: Tensor) -> Tensor:
        return hinton(student, teacher, labels)


TORCH_LOSS = {"hinton": _Hinton()}


class Toolkit:
    """`kd.DistillationModule(student, teacher, "kd", speed=...)`.

    With "auto" the module tries settings on the first batch of every training. Here it does so once, before anything
    is timed, and every round trains with what it found: a round is too short to pay for the trial, a training is not.

    Attributes:
        chosen: what `speed` came to, in words.
        trial_seconds: what finding it took, with the start of a Trainer and two steps.

    Args:
        pair: models and batches.
        speed: the module's argument; "off" leaves the models as they came.
        objective: "kd", or `TORCH_LOSS` for the same loss from torch's own functions, as one might write it oneself.
    """

    def __init__(self, pair: Pair, speed: str = "auto", objective: Any = "kd") -> None:
        def make(**setting: Any) -> DistillationModule:
            teacher, student = pair.build()
            settings = {"optimizer": "sgd", "learning_rate": LEARNING_RATE, **setting}
            return DistillationModule(student, teacher, objective, **settings)

        self.module, self.chosen, self.trial_seconds = settled(make, speed, lambda module: fit(module, pair.batches(2)))
        self.profiler = NoProfiler()  # as `kd.distill` has it

    def loss(self, batch: Any) -> Tensor:
        return self.module.distillation_loss(batch)[0]

    def train(self, batches: Any) -> None:
        fit(self.module, batches, profiler=self.profiler)

    def weights(self) -> Tensor:
        return flat(self.module.student_model)


def settled(
    make: Callable[..., DistillationModule], speed: str, train: Callable[[DistillationModule], object]
) -> tuple[DistillationModule, str, float]:
    """A module that trains with what `speed` finds, found in a training of its own.

    Args:
        make: builds the module; takes the argument `speed`.
        speed: "auto" or "off".
        train: a short training.

    Returns:
        The module, what was found in words, and the seconds that the short training took.
    """
    # the module's line about its speed is for a user, not for every round: with the level set it goes to nobody
    logging.getLogger("knowledge_distillation.training.speed").setLevel(logging.INFO)
    if speed == "off":
        return make(speed="off"), "off", 0.0
    began = time.perf_counter()
    trial = make(speed=speed)
    train(trial)
    return make(speed=trial.speed.chosen), trial.speed.line.removeprefix("speed: "), time.perf_counter() - began
