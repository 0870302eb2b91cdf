"""The step of a training, whatever its loss: guard, optimiser, log, and where a checkpoint goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from knowledge_distillation.errors import NonFiniteError
from knowledge_distillation.objective.share import Share
from knowledge_distillation.training import continuing
from knowledge_distillation.training.back_off import BackOff
from knowledge_distillation.training.continuing import BETWEEN, WITHIN, Standing
from knowledge_distillation.training.denominator import Denominator
from knowledge_distillation.training.durable_files import check_finite, not_finite, read_checkpoint
from knowledge_distillation.training.joining import all_say
from knowledge_distillation.training.last_checkpoint import LastCheckpoint
from knowledge_distillation.training.metrics_file import MetricsFile
from knowledge_distillation.training.nonfinite import NonFiniteGuard
from knowledge_distillation.training.random_state import random_state
from knowledge_distillation.training.step_log import StepLog, send


class StepModule(LightningModule, ABC):
    """Base of `DistillationModule`.

    Args:
        gradient_norm: order of the gradient norms to log, or None for none.
        nonfinite: see `NonFiniteGuard`.

    Attributes:
        denominator: by what the gradients of a step are divided.
        scores: the latest of every validation loader, by name.
        scored_after: optimiser steps that the student of these scores had taken.
    """

    def __init__(self, *, gradient_norm: float | None, nonfinite: str) -> None:
        super().__init__()
        self.gradient_norm = gradient_norm
        self._log = StepLog()
        self._guard = NonFiniteGuard(nonfinite)
        self._back_off = BackOff()
        self.denominator = Denominator()
        self.scores: dict[str, float] = {}
        self.scored_after: int | None = None
        self._weighs = False
        self._accumulates = self._is_scaled = False
        self._looks = True
        self._total: Tensor | None = None
        self._standing: Standing | None = None
        self._edge_random_state: dict[str, Any] | None = None
        self._validating_since: dict[str, Any] | None = None
        self._never_finite: frozenset[str] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning names the running hook on the module some 20 times a step; nn.Module's own way of setting an
        # attribute looks through every registry first, which is a tenth of a small model's step.
        if name in ("_current_fx_name", "_total"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def distillation_loss(
        self, batch: Any, *, monitors: bool = True, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective on one batch: the total, and every unweighted component by name; see `Objective.forward`."""

    @property
    @abstractmethod
    def undivided(self) -> str:
        """Why a batch cannot be taken in parts, or ""."""

    @abstractmethod
    def counted_items(self, batch: Any, at_a_time: int) -> list[int] | None:
        """How many items of each sample the mask counts, looked up so many samples at a time; None without a mask."""

    def after_step(self) -> None:
        """Called after every step of the optimiser, before a checkpoint of it is written."""

    # -- a step ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self._edge_random_state = None
        self.denominator.batch_idx = batch_idx
        logs = self._log.is_due(batch_idx)
        total, components, items = self._back_off.losses(self, batch, logs)
        self._total = total.detach()
        self._log.note(self._total)
        if logs:
            self._log.write(self.trainer, self._total, components, stops=self._guard.policy == "stop")
        return self.denominator.weighed(total, items)

    def backward(self, loss: Tensor, *arguments: Any, **settings: Any) -> None:
        if self._back_off.is_at_work:
            super().backward(loss, *arguments, **settings)
            return
        adds = self._accumulates or bool(self._back_off.waiting)
        try:
            if adds:
                with self._back_off.adding(self):
                    super().backward(loss, *arguments, **settings)
            else:
                super().backward(loss, *arguments, **settings)
        except RuntimeError as error:
            self._back_off.failed(self, error, added=adds)

    def finish_batch(self) -> None:
        """Add the gradients of a batch that its backward pass had no memory for, if some are missing."""
        if self._back_off.is_behind:
            self._back_off.finish(self)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        given: Any = optimizer_closure

        def closure() -> Any:
            result = given()
            if self._back_off.is_behind:
                given._result.closure_loss = None  # it holds the graph of the failed attempt
                self.finish_batch()
            self.denominator.divide(self.trainer, self.parameters())
            return result

        inner = getattr(optimizer, "optimizer", optimizer)
        if not self._looks or isinstance(inner, torch.optim.LBFGS):  # which asks many times
            super().optimizer_step(epoch, batch_idx, optimizer, closure)
            self.denominator.clear()
            self.after_step()
            return
        loss = closure()
        gradients = () if self._is_scaled else _gradients(inner)  # a scaler looks at them itself
        fault = self._guard.fault(self._total, gradients, inner.param_groups)
        together = self.trainer.world_size > 1 and self._guard.policy != "stop"  # all leave a step out, or none
        if together and not all_say(not fault, self.device):
            fault = fault or "something in another process is not finite"
        if fault:
            self._leave_out(fault)
            return
        self._guard.passed(self.trainer.global_step)
        super().optimizer_step(epoch, batch_idx, optimizer, lambda: loss)
        self.denominator.clear()
        self.after_step()

    def _leave_out(self, fault: str) -> None:
        self._guard.failed(self.trainer.global_step, fault)
        for parameter in self.parameters():
            parameter.grad = None
        self.denominator.clear()
        if self._guard.policy == "rollback":
            self._roll_back()

    def _roll_back(self) -> None:
        """Weights and optimiser as of last.ckpt.

        Raises:
            NonFiniteError: if there is none yet.
        """
        places = [c.path(self.trainer) for c in self.trainer.callbacks if isinstance(c, LastCheckpoint)]  # type: ignore[attr-defined]
        if not places or not places[0].is_file():
            raise NonFiniteError(
                f"Step {self.trainer.global_step} is not finite, and there is no checkpoint yet to roll back to. Lower "
                "the learning rate, or write checkpoints more often with checkpoint_every."
            )
        checkpoint = read_checkpoint(places[0], self.device)
        self.load_state_dict(checkpoint["state_dict"], strict=False)
        self.trainer.strategy.load_optimizer_state_dict(checkpoint)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.gradient_norm is None or not self._log.takes_norms():
            return
        norms = {
            f"grad_{float(self.gradient_norm)}_norm_{name}": parameter.grad.detach().norm(self.gradient_norm)
            for name, parameter in self.named_parameters()
            if parameter.grad is not None
        }
        if norms:
            total = torch.stack(list(norms.values())).norm(self.gradient_norm)
            norms[f"grad_{float(self.gradient_norm)}_norm_total"] = total
            send(self.trainer, {name: float(norm) for name, norm in norms.items()})
            self.log_dict(norms, logger=False, batch_size=1)

    # -- an epoch --------------------------------------------------------------------------------------------------

    @property
    def latest(self) -> dict[str, Tensor]:
        """Every component and the total at the last logged step, without graph; for progress bars."""
        return self._log.latest

    def _begin(self) -> None:
        trainer: Any = self.trainer
        self._accumulates = trainer.accumulate_grad_batches > 1
        self._weighs = trainer.accumulate_grad_batches > 1 or trainer.world_size > 1
        self._is_scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        self._looks = self._guard.looks(self.device)
        every: int = trainer.log_every_n_steps
        self._log.begin_epoch(every, self.trainer.num_training_batches)

    def on_train_start(self) -> None:
        self._begin()
        self._guard.begin(self)
        self._never_finite = frozenset(not_finite(self.state_dict()))
        self.denominator.clear()
        standing, self._standing = self._standing, None
        if standing is None:
            return
        if standing.place == WITHIN:
            continuing.continue_within(self.trainer, self, standing)
            self._log.restore(standing.part["log"], self.device)
            self.denominator.restore(standing.part.get("items", {}), self.device)
            self._edge_random_state = None
        else:
            self._standing = standing

    def on_train_epoch_start(self) -> None:
        self._begin()
        if self._edge_random_state is not None:
            continuing.continue_between(self.trainer, self._edge_random_state, self._standing)
        self._edge_random_state = self._standing = None

    def on_validation_start(self) -> None:
        self._validating_since = random_state() if self.trainer.state.fn == "fit" else None

    def on_validation_epoch_end(self) -> None:  # before checkpoints of the score are written
        self._validating_since = None

    def on_train_epoch_end(self) -> None:
        mean = self._log.end_epoch()
        if mean is None:
            return
        loss = torch.tensor(mean, device=self.device)
        self.log("train_final_loss_epoch", loss, logger=False, batch_size=1, sync_dist=self.trainer.world_size > 1)
        self.log_dict(self.latest, prog_bar=True, logger=False, batch_size=1)
        # Lightning would log it after the checkpoint of this epoch, which counts the rows of the log.
        if self.trainer.world_size > 1:
            loss = self.trainer.strategy.reduce(loss, reduce_op="mean")
        numbers = {"train_final_loss_epoch": float(loss), "epoch": self.trainer.current_epoch}
        send(self.trainer, numbers, step=self.trainer.global_step - 1)

    def on_train_end(self) -> None:
        check_finite({"state_dict": self.state_dict()}, self._never_finite)  # the student is about to be written

    # -- a checkpoint ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not continuing.is_fitting(self):
            return
        check_finite(checkpoint, self._never_finite)
        part = continuing.describe(self.trainer, self, checkpoint, validating_since=self._validating_since)
        part["log"], part["at_a_time"] = self._log.state(), self._back_off.at_a_time
        part["items"] = self.denominator.state()
        rows = [logger.rows() for logger in self.trainer.loggers if isinstance(logger, MetricsFile)]
        checkpoint[continuing.KEY] = {
            "processes": continuing.gathered(self.trainer, part),
            "rows": sum(rows),
            "scores": dict(self.scores),
            "scored_after": self.scored_after,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._standing = continuing.find(checkpoint, self.trainer.global_rank, self.trainer.world_size)
        kept = checkpoint.get(continuing.KEY, {})
        self.scores, self.scored_after = dict(kept.get("scores", {})), kept.get("scored_after")
        if self._standing is not None:
            self._back_off.at_a_time = self._standing.part.get("at_a_time")
        if self._standing is not None and self._standing.place == BETWEEN:
            self._edge_random_state = self._standing.part["random_state"]


def _gradients(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                yield parameter.grad
