"""The one Lightning module: ask the teacher, ask the student, minimise the objective."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, adapter_pair, check_normalised
from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.errors import CheckpointError, ConfigError, ModelContractError, NonFiniteError
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.objective import Objective, as_objective
from knowledge_distillation.objective.share import Share
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import FollowsStudent, LiveTeacher, ReadsStudent, Teacher, as_teacher
from knowledge_distillation.teachers.cache import CachedTeacher, TaughtBatch
from knowledge_distillation.training import planning
from knowledge_distillation.training.back_off_ddp import undivided_by
from knowledge_distillation.training.batch_parts import part_of, samples_of
from knowledge_distillation.training.joining import join, leave_out
from knowledge_distillation.training.loaders import WholeLoader, loader_for
from knowledge_distillation.training.optimizers import OptimizerFactory, check_optimizer, make_optimizer
from knowledge_distillation.training.pipelines import AccuracyPipeline, InferencePipeline, check_pipeline
from knowledge_distillation.training.preparing import prepare_objective, prepare_teacher
from knowledge_distillation.training.resumable_loader import resumable
from knowledge_distillation.training.schedules import PER_EPOCH, ScheduleSpec, check_schedule, make_schedule, name_of
from knowledge_distillation.training.sharding import shard
from knowledge_distillation.training.shared_scoring import score_together
from knowledge_distillation.training.speed import Settings, SpeedUp, check_speed
from knowledge_distillation.training.step_module import StepModule
from knowledge_distillation.training.student_weights import load_student, own_weights

if TYPE_CHECKING:
    from typing_extensions import Self


class DistillationModule(StepModule):
    """Distil a teacher into a student with any `lightning.Trainer` and any of its strategies.

    The student (as `student_model`) and the objective's learned parts are sub-modules: they are trained, moved and
    saved. The teacher is not: it enters no optimiser, no checkpoint and no DDP wrapper.

    Args:
        student: the module to train, in place.
        teacher: an nn.Module, a `Teacher`, or None for an objective without teacher terms.
        objective: a preset (`kd list objectives`), a loss name, a loss, or named terms.
        optimizer: name, mapping with "name", or torch.optim class; see `make_optimizer`.
        learning_rate: > 0.
        schedule: name, mapping with "name" and settings, or callable; see `make_schedule`.
        warm_up_epochs: epochs of warm-up for the schedule, >= 0.
        adapter: "auto", "original", a callable (model, batch, temperature) -> Signals, or (student's, teacher's).
        temperature: handed to the adapters, > 0. The losses have their own.
        train_loader: optional; otherwise give it to `Trainer.fit`.
        val_loaders: name -> loader; each is scored whole by the pipeline and logged under its name. Loaders given
            to `Trainer.fit` instead are walked batch by batch, and the objective is logged as "val_<component>".
        pipeline: scores the student; default: accuracy.
        gradient_norm: order of the gradient norms to log (2.0 for the original's), or None for none.
        speed: "off", "auto" (try faster settings on the first batch), or a mapping; see `speed.Settings`.
        nonfinite: what to do when loss or gradients are NaN or infinite: "stop", "skip" the step, or "rollback" to
            last.ckpt; see `nonfinite.NonFiniteGuard`.

    Raises:
        ConfigError: if an argument is wrong.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher | nn.Module | None,
        objective: Any = "kd",
        *,
        optimizer: str | OptimizerFactory | Mapping[str, Any] = "adamw",
        learning_rate: float = 1e-3,
        schedule: ScheduleSpec = "",
        warm_up_epochs: float = 0.0,
        adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
        temperature: float = 1.0,
        train_loader: Iterable[Any] | None = None,
        val_loaders: Mapping[str, Any] | None = None,
        pipeline: InferencePipeline | None = None,
        gradient_norm: float | None = None,
        speed: str | Mapping[str, Any] | Settings = "off",
        nonfinite: str = "stop",
    ) -> None:
        super().__init__(gradient_norm=planning.check_norm(gradient_norm), nonfinite=nonfinite)
        if not isinstance(student, nn.Module):
            raise ConfigError(f"student must be an nn.Module, got {type(student).__name__}.")
        if teacher is student:
            raise ConfigError(
                "teacher and student are the same object: the student would learn from itself. Pass a copy."
            )
        if not any(parameter.requires_grad for parameter in student.parameters()):
            raise ConfigError("The student has no trainable parameter, so nothing would change. Unfreeze some.")
        self.student_model = student
        self.objective: Objective = as_objective(objective)
        self.temperature = check_positive("temperature", temperature)
        self.learning_rate = check_positive("learning_rate", learning_rate)
        check_optimizer(optimizer)
        check_schedule(schedule)
        self.optimizer, self.schedule = optimizer, schedule
        self.warm_up_epochs = planning.check_warm_up(warm_up_epochs)
        student_adapter, teacher_adapter = adapter_pair(adapter)
        self._teacher: Teacher | None = None
        if teacher is not None:
            self._teacher = as_teacher(teacher, adapter=teacher_adapter, temperature=self.temperature)
        elif self.objective.needs_teacher:
            raise ConfigError(
                "The objective has teacher terms but there is no teacher. Pass one, or use objective='labels'."
            )
        if self._teacher is not None:
            planning.check_apart(student, self._teacher)
        self.train_loader = loader_for(self._teacher, train_loader)
        self.val_loaders = dict(val_loaders or {})
        planning.check_names(self.val_loaders)
        self.pipeline = AccuracyPipeline(student_adapter) if pipeline is None else pipeline
        check_pipeline(self.pipeline)
        self._speed = SpeedUp(check_speed(speed), student, self._teacher)
        self._asks_always = self.objective.learns_from_teacher
        self._asks_for_monitors = self.objective.needs_teacher
        self._mirror = self._teacher if isinstance(self._teacher, ReadsStudent) else None
        self._follower = self._teacher if isinstance(self._teacher, FollowsStudent) else None
        self._student_adapter = student_adapter
        self.objective.student_parameters = lambda: [p for p in self.student_model.parameters() if p.requires_grad]
        self._read_as_wanted()
        self._has_schedules = self.objective.has_schedules
        self._inspected = False
        self._has_mask = True  # or so it must be taken until a batch was seen
        self._planned_steps = 0
        self._teacher_ready = False

    @property
    def teacher(self) -> Teacher | None:
        """Who teaches, or None."""
        return self._teacher

    @property
    def finished_student(self) -> nn.Module:
        """What is scored and shipped: the student, or with the parts that a loss such as `SimKD` leaves in it."""
        return self.objective.finished(self.student_model)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: Any = "cpu", **arguments: Any
    ) -> Self:
        """The module of `arguments` with a checkpoint's student, as of `student_weights.load_student`."""
        module = cls(**arguments)
        load_student(module.student_model, checkpoint_path, map_location)
        return module

    # -- signals ---------------------------------------------------------------------------------------------------

    def forward(self, batch: Any) -> Signals:
        """The student's signals on one batch, with graph."""
        return self._reader.read(batch)

    def distillation_loss(
        self, batch: Any, *, monitors: bool = True, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective on one batch: the total, and every unweighted component by name; see `Objective.forward`."""
        return self._compare(batch, monitors, share)[:2]

    @property
    def undivided(self) -> str:
        teachers = planning.models_of(self._teacher)
        return undivided_by(self.trainer, self.student_model, self.objective, teachers) or self.objective.undivided

    @torch.no_grad()
    def counted_items(self, batch: Any, at_a_time: int) -> list[int] | None:
        counts: list[int] = []
        for begin in range(0, samples_of(batch), at_a_time) if self._has_mask else ():
            mask = self._reader.read(self._seen(part_of(batch, begin, begin + at_a_time))[1]).mask
            if mask is None:
                return None
            counts += mask.bool().flatten(1).sum(1).tolist() if mask.dim() > 1 else mask.long().tolist()
        return counts or None

    def _compare(
        self, batch: Any, monitors: bool, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor], Signals | None]:
        asked, seen = self._seen(batch)
        teacher = None
        asks = self._asks_always or (monitors and self._asks_for_monitors)
        if asks and self._teacher is not None and self._mirror is None:
            teacher = self._teacher.signals(asked, self._teacher_wanted)
        student = self._reader.read(seen)
        if asks and self._mirror is not None:
            teacher = self._mirror.from_student(student)
        if not self._inspected:
            self._inspect(student, teacher)
        if self._weighs:
            self.denominator.items = self.objective.counted_items(student)
        progress = self._progress() if self._has_schedules else 0.0
        total, components = self.objective(student, teacher, progress=progress, monitors=monitors, share=share)
        if torch.is_grad_enabled() and not total.requires_grad:
            raise ModelContractError(
                "The total loss carries no gradient, so the student would not learn. Its outputs or its own loss terms "
                "are detached, computed under no_grad, or plain numbers; return tensors with their graph."
            )
        return total, components, teacher

    def _seen(self, batch: Any) -> tuple[Any, Any]:
        """What the teacher is asked about, and what the student sees."""
        content = batch.content if isinstance(batch, TaughtBatch) else batch
        if self._speed.converts:
            content = self._speed.converted(content)
        shown = self.objective.shown(content)
        if not isinstance(batch, TaughtBatch):
            return shown, shown
        if shown is not content:
            raise ConfigError(
                "The objective shows the models views of its own making, and a cache holds no answers to them. Distil "
                "with the live teacher."
            )
        return batch, shown

    def _inspect(self, student: Signals, teacher: Signals | None) -> None:
        """Look at the first batch once: given probabilities must be probabilities, scores must fit and be finite."""
        if isinstance(self._teacher, CachedTeacher):
            self._teacher.check_fits(student, self.objective)
        for whose, signals in (("student", student), ("teacher", teacher)):
            if signals is None:
                continue
            complaint = check_normalised(signals, whose)
            if complaint:
                warnings.warn(complaint, stacklevel=2)
            stops = self._guard.policy == "stop"
            if stops and isinstance(signals.logits, Tensor) and bool(torch.isnan(signals.logits).any()):
                raise NonFiniteError(
                    f"The {whose}'s logits hold NaN on the first batch; the loss would be NaN from here on."
                )
        self._inspected, self._has_mask = True, student.mask is not None

    def _progress(self) -> float:
        return min(1.0, self.trainer.global_step / self._planned_steps) if self._planned_steps else 0.0

    @property
    def speed(self) -> SpeedUp:
        """The speed settings: what was asked, what is on now, and the line that says why."""
        return self._speed

    # -- Lightning -------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self._speed.is_due:
            self._speed.begin(self, batch, lambda: self._compare(batch, monitors=False)[::2])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if isinstance(batch, WholeLoader):
            self._score_whole(batch)
            return
        total, components = self.distillation_loss(batch)
        values = {f"val_{name}": value for name, value in components.items()}
        self.log_dict({**values, "val_final_loss": total}, on_step=False, on_epoch=True, sync_dist=True, prog_bar=True)

    def _score_whole(self, whole: WholeLoader) -> None:
        value = score_together(self.pipeline, self.finished_student, whole.loader, whole.name, self.trainer)
        self.scores[whole.name] = value
        self.scored_after = self.trainer.global_step
        self.log(whole.name, value, prog_bar=True, batch_size=1, add_dataloader_idx=False)

    def train_dataloader(self) -> Any:
        trainer: Any = self.trainer
        if self.train_loader is None or trainer.overfit_batches:  # for which Lightning changes a plain DataLoader
            return self.train_loader
        shares = trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler
        return resumable(self.train_loader, ranks=(trainer.global_rank, trainer.world_size) if shares else None)

    def val_dataloader(self) -> Any:
        return [WholeLoader(name, loader) for name, loader in self.val_loaders.items()]

    def configure_optimizers(self) -> Any:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(self.optimizer, parameters, learning_rate=self.learning_rate)
        if name_of(self.schedule) not in PER_EPOCH or self._has_schedules:
            self._planned_steps = planning.planned_steps(self.trainer)
        schedule = make_schedule(
            self.schedule,
            optimizer,
            max_epochs=max(1, self.trainer.max_epochs or 1),
            total_steps=max(1, self._planned_steps),
            warm_up_epochs=self.warm_up_epochs,
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule} if schedule else optimizer

    def configure_model(self) -> None:
        leave_out(self, (f"objective.{name}" for name in self.objective.shared_memories))
        mesh = self.device_mesh  # of Lightning's ModelParallelStrategy, which leaves the sharding to the module
        if mesh is None:
            return
        for part in (self.student_model, self.objective):
            if any(True for _ in part.parameters()):
                shard(part, mesh["data_parallel"])

    def configure_callbacks(self) -> list[Callback]:
        return [_BetweenHooks()]

    def setup(self, stage: str) -> None:
        self._inspected = False
        if not self.val_loaders:  # Lightning warns that nothing is there to validate, which is meant
            warnings.filterwarnings("ignore", message=".*Total length of `list` across ranks is zero.*")
        if stage == "fit" and not self.objective.is_ready:
            prepare_objective(self.objective, self.student_model, self._student_adapter, self._teacher, self.trainer)
            self._read_as_wanted()
        self._reader.attach()
        if stage == "fit":
            self._speed.expect()

    def _read_as_wanted(self) -> None:
        self._teacher_wanted = self.objective.wanted("teacher")
        mirrored = self._mirror.reads(self._teacher_wanted) if self._mirror is not None else ()
        self._reader = Reader(
            self.student_model,
            self._student_adapter,
            temperature=self.temperature,
            wanted=tuple(dict.fromkeys((*self.objective.wanted("student"), *mirrored))),
            leaves_head=self._mirror is None and self.objective.leaves_head("student"),
        )

    def on_fit_start(self) -> None:
        self.student_model.train()
        self._prepare_teacher()
        join(self.trainer, self, self.objective.shared_memories.values())

    def on_validation_start(self) -> None:
        super().on_validation_start()
        self._prepare_teacher()

    def _begin(self) -> None:
        super()._begin()
        self.student_model.train()
        if isinstance(self._teacher, LiveTeacher):
            self._teacher.model.eval()  # a pipeline may have scored the teacher too

    def teardown(self, stage: str) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Take every hook off both models and give the teacher its modes back."""
        self._reader.detach()
        self._speed.end(self._trainer)
        if self._teacher is not None:
            self._teacher.release()
            self._teacher_ready = False

    def _prepare_teacher(self) -> None:
        if self._teacher is not None and not self._teacher_ready:
            prepare_teacher(self._teacher, self.objective, self.device)
            self._teacher_ready = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        self._speed.save(checkpoint)
        if self._follower is not None:
            checkpoint["teacher"] = self._follower.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "state_dict" in checkpoint:  # a strategy that shards has put the weights in place already
            checkpoint["state_dict"] = own_weights(checkpoint["state_dict"])
        super().on_load_checkpoint(checkpoint)
        self._speed.load(checkpoint, self.trainer.strategy.root_device)
        if name_of(self.schedule) == "one_cycle":
            planning.check_same_plan(checkpoint, planning.planned_steps(self.trainer))
        if self._follower is not None:
            if "teacher" not in checkpoint:
                raise CheckpointError(
                    "The checkpoint must hold the teacher, which follows the student, and holds none: its run had "
                    "another teacher. Continue with that one, or begin a new run from the student's weights."
                )
            self._follower.load_state_dict(checkpoint["teacher"])

    def after_step(self) -> None:
        if self._follower is not None:  # not in on_train_batch_end, which comes after a checkpoint of this step
            self._follower.after_step(self.student_model)

    def on_train_end(self) -> None:
        if self.trainer.global_step == 0:
            raise ConfigError("The train loader gave no batch, so nothing was learnt. Check the dataset and drop_last.")
        super().on_train_end()


class _BetweenHooks(Callback):
    """What must happen where Lightning calls no hook of the module in time."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(pl_module, DistillationModule):
            pl_module.finish_batch()  # before checkpoints, whose callbacks come last

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(pl_module, DistillationModule):
            pl_module.let_go()  # hooks and modes, since Lightning calls no teardown when training raises
