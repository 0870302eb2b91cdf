"""A training that writes nothing and validates only at its end: one arm of a comparison."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from torch import Tensor, nn

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.teachers.cache import TaughtBatch
from knowledge_distillation.training.fitting import fit
from knowledge_distillation.training.loaders import loader_for, loader_length
from knowledge_distillation.training.own_stream import own_stream
from knowledge_distillation.training.plan import TrainingPlan, drawn, weights_mark
from knowledge_distillation.training.trainer import make_trainer

NEVER = 10**9
LEFT_OUT = (Checkpoint, EarlyStopping)
"""Callbacks that write, or that would end one arm before the other."""


@dataclass(frozen=True, slots=True)
class Bare:
    """What such a training gave.

    Attributes:
        student: trained, on the CPU or where Lightning left it; as it is shipped.
        scores: by validation loader, after the last step.
        steps: optimiser steps.
        seconds: from the first step to the last, loading included, validation not.
        seen: for every epoch a number that stands for its first batch.
        drawn: stands for the random numbers that were drawn.
        weights: stand for the trained student.
    """

    student: nn.Module
    scores: Mapping[str, float]
    steps: int = 0
    seconds: float = 0.0
    seen: tuple[float, ...] = ()
    drawn: str = ""
    weights: tuple[float, ...] = ()


def train_bare(plan: TrainingPlan, directory: Path, *, steps: int | None = None, full_steps: int = 0) -> Bare:
    """Train as planned, then score.

    Args:
        plan: from `TrainingPlan.again`.
        directory: of the run; nothing is written there.
        steps: optimiser steps, for which the schedule is planned; None for what the plan says.
        full_steps: what the plan comes to, of which `steps` is a multiple; epochs grow with the steps.
    """
    if steps is not None:
        epochs = plan.trainer.get("max_epochs") or plan.max_epochs
        epochs = max(1, math.ceil(epochs * steps / full_steps)) if epochs > 0 else epochs
        plan = replace(plan, trainer={**plan.trainer, "max_epochs": epochs, "max_steps": steps})
    module = plan.module()
    watch = _Watch()
    engine = _engine(plan, directory, watch)
    seed_everything(plan.seed, workers=True, verbose=False)
    with own_stream(module.objective, plan.seed):
        fit(engine, module, loader_for(module.teacher, plan.train_loader), None)
    numbers = drawn()
    engine.validate(module, verbose=False)
    return Bare(
        student=module.finished_student,
        scores=dict(module.scores),
        steps=engine.global_step,
        seconds=watch.seconds,
        seen=tuple(watch.seen),
        drawn=numbers,
        weights=weights_mark(module.finished_student),
    )


def score_untrained(plan: TrainingPlan, directory: Path) -> Bare:
    """Score the student as it is before training."""
    module = plan.module()
    _engine(plan, directory, _Watch()).validate(module, verbose=False)
    return Bare(student=module.student_model, scores=dict(module.scores))


def planned_end(trainer: Trainer) -> bool:
    """Whether nothing may have ended a training before the control's, which has no such callbacks."""
    return not any(isinstance(callback, EarlyStopping) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def _engine(plan: TrainingPlan, directory: Path, watch: Callback) -> Trainer:
    given = plan.trainer.get("callbacks") or []
    callbacks = [given] if isinstance(given, Callback) else list(given)
    return make_trainer(
        directory,
        max_epochs=plan.max_epochs,
        loggers=(),
        metric=None,
        pipeline=None,
        steps_per_epoch=loader_length(plan.train_loader),
        overrides={
            **plan.trainer,
            "callbacks": [watch, *(callback for callback in callbacks if not isinstance(callback, LEFT_OUT))],
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "check_val_every_n_epoch": NEVER,
            "val_check_interval": 1.0,
            "limit_val_batches": 1.0,
        },
    )


class _Watch(Callback):
    """Times the training, and notes the first batch of every epoch."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.seen: list[float] = []
        self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = _now(pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.seen.append(_mark(batch))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = _now(pl_module) - self._started


def _now(module: LightningModule) -> float:
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.perf_counter()


def _mark(batch: Any) -> float:
    """One number that changes with what a batch holds and with its order."""
    total = 0.0

    def add(leaf: Any) -> Any:
        nonlocal total
        if isinstance(leaf, Tensor):
            values = leaf.detach().cpu().flatten().double().nan_to_num()  # NaN, as of a label not known, equals nothing
            total += float(values @ torch.linspace(1, 2, len(values), dtype=values.dtype))
        return leaf

    map_leaves(batch.content if isinstance(batch, TaughtBatch) else batch, add)
    return total
