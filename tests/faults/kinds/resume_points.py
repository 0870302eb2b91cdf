"""A training is stopped at random batches and goes on, with the same or another number of loader workers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from knowledge_distillation.errors import Terminated
from tests.faults.kind import Kind
from tests.faults.training import BATCHES, EPOCHS, digest, train
from tests.run.stopping import StopsAt, jittered


def inject(number: int, folder: Path) -> None:
    draws = random.Random(number)
    train(folder / "whole", number)
    stops = sorted(draws.sample(range(1, BATCHES * EPOCHS + 1), 1 + number % 3))
    resume, before = None, 0
    for batch in stops:
        callbacks = {"callbacks": [StopsAt(batch - before)]}
        with pytest.raises(Terminated):
            train(
                folder / "cut", number, resume=resume, train_loader=jittered(draws.choice((0, 0, 2))), trainer=callbacks
            )
        resume, before = "auto", batch
    train(folder / "cut", number, resume="auto", train_loader=jittered(draws.choice((0, 0, 1))))
    assert digest(folder / "cut") == digest(folder / "whole")


KIND = Kind(
    title="a training stopped at up to three batches: within an epoch, at its edge, within accumulated gradients",
    survives="the same to the bit, also with another number of loader workers",
    inject=inject,
    all=40,
    sample=2,
)
