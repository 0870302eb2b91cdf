"""The original Knowledge Distillation Toolkit's front door: its two classes, arguments and defaults, unchanged.

It only translates arguments; the work is done by `DistillationModule` and a Lightning Trainer. What behaves
differently from the original, on purpose, is listed in the documentation under "Moving from the original toolkit".
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, Logger
from torch import nn

from knowledge_distillation.accepted import check_accepted, check_whole
from knowledge_distillation.doctor import preflight
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.kd_arguments import (
    ALWAYS_COMPUTED,
    MONITORS,
    built,
    check_logging,
    check_norm,
    check_number,
    devices_of,
    original_objective,
    precision_of,
)
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.teachers import LiveTeacher
from knowledge_distillation.training.fitting import check_checkpoint, fit
from knowledge_distillation.training.last_checkpoint import LastCheckpoint, set_last_aside
from knowledge_distillation.training.loaders import loader_length
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.optimizers import check_optimizer
from knowledge_distillation.training.pipelines import check_pipeline
from knowledge_distillation.training.planning import check_arguments, check_names
from knowledge_distillation.training.progress import LossProgressBar
from knowledge_distillation.training.run_directory import is_file
from knowledge_distillation.training.schedules import check_schedule
from knowledge_distillation.training.student_weights import read_student_weights
from knowledge_distillation.training.tracking import comet_from_file, log_hyperparameters
from knowledge_distillation.training.trainer import checkpoint_callback, durable, trainer_with

__all__ = ["KnowledgeDistillModel", "KnowledgeDistillationTraining", "ScorePrinter", "read_student_weights"]
logger = logging.getLogger(__name__)
LARGEST_COPY = 4 << 30
"""Bytes of models that are copied for the doctor's look before a training."""
KD_LOSS_ALONE: Mapping[str, float] = MappingProxyType({"kd_loss": 1})


class KnowledgeDistillModel(DistillationModule):
    """The original's Lightning module. Dummy settings are accepted, so that a checkpoint can be loaded for inference.

    Args:
        num_gpu_used: kept for the signature; the Trainer decides.
        max_epoch: kept for the signature; the Trainer decides.
        temperature: handed to both models by keyword, and squared onto kd_loss.
        optimize_method: optimiser's name; None or "" only where nothing is trained.
        scheduler_method: schedule's name, "" for none.
        learning_rate: of the optimiser.
        num_lr_warm_up_epoch: epochs of warm-up.
        final_loss_coeff_dict: loss name -> coefficient: "kd_loss", "cos_embed_loss", or a name that the student
            returns under "loss".
        train_data_loader: batches are unpacked: `model(*batch, temperature=T)`.
        val_data_loaders: name -> loader.
        inference_pipeline: scores the student on each of them after every epoch.
        student_model: trained in place.
        teacher_model: asked without gradient, in eval mode.
    """

    def __init__(
        self,
        num_gpu_used: int | None = None,
        max_epoch: int | None = None,
        temperature: float | None = None,
        optimize_method: Any = None,
        scheduler_method: Any = None,
        learning_rate: float | None = None,
        num_lr_warm_up_epoch: float | None = None,
        final_loss_coeff_dict: Mapping[str, float] | None = None,
        train_data_loader: Any = None,
        val_data_loaders: Mapping[str, Any] | None = None,
        inference_pipeline: Any = None,
        student_model: nn.Module | None = None,
        teacher_model: nn.Module | None = None,
    ) -> None:
        softness = temperature or 1.0
        super().__init__(
            student_model,  # type: ignore[arg-type]  # checked there
            teacher_model,
            original_objective(KD_LOSS_ALONE if final_loss_coeff_dict is None else final_loss_coeff_dict, softness),
            optimizer=optimize_method or "adam",
            learning_rate=learning_rate or 1e-4,
            schedule=scheduler_method or "",
            warm_up_epochs=num_lr_warm_up_epoch or 0,
            adapter="original",
            temperature=softness,
            train_loader=train_data_loader,
            val_loaders=val_data_loaders,
            pipeline=inference_pipeline,
            gradient_norm=None,
        )
        needed = {"optimize_method": optimize_method, "learning_rate": learning_rate, "temperature": temperature}
        self._dummies = [name for name, value in needed.items() if not value]
        self.max_epoch = max_epoch
        self.final_loss_coeff_dict = dict(final_loss_coeff_dict or KD_LOSS_ALONE)

    def configure_optimizers(self) -> Any:
        if self._dummies:
            raise ConfigError(
                f"This module was built for inference, with dummy settings for {self._dummies}. Set them to train it."
            )
        return super().configure_optimizers()

    @property
    def teacher_model(self) -> nn.Module | None:
        """The teacher that was passed in."""
        return self._teacher.model if isinstance(self._teacher, LiveTeacher) else None

    def get_student_model(self) -> nn.Module:
        """The very student that was passed in."""
        return self.student_model


class ScorePrinter(Callback):
    """Print each validation score as the original did, and the memory in use where there is a GPU."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not isinstance(pl_module, DistillationModule):
            return
        for name, value in pl_module.scores.items():
            print(f"\n{name} :{value}\n")
        if torch.cuda.is_available() and trainer.strategy.root_device.type == "cuda":
            device, used = torch.cuda.current_device(), torch.cuda.memory_stats()
            print(f"GPU {device} current active MB: {used['active_bytes.all.current'] * 1e-6}")
            print(f"GPU {device} current reserved MB: {used['reserved_bytes.all.current'] * 1e-6}")


class KnowledgeDistillationTraining:
    """Distil a teacher into a student, with the original toolkit's arguments.

    Args:
        num_gpu_used: 0 trains on the CPU, 1 on one GPU, more with DDP.
        max_epoch: epochs to train, >= 1.
        optimize_method: "adam", "sgd", "adam_wav2vec2.0", "adam_distilBert", "adamW_distilBert", or any name or
            torch.optim class that `make_optimizer` takes.
        scheduler_method: "", "linear_decay_with_warm_up", "cosine_anneal", or any name of `SCHEDULES`.
        learning_rate: > 0.
        num_lr_warm_up_epoch: epochs of warm-up, >= 0.
        final_loss_coeff_dict: loss name -> coefficient; default {"kd_loss": 1}.
        log_to_comet: track with Comet.
        comet_info_path: file of three lines (API key, project, workspace); "" reads COMET_API_KEY.
        comet_exp_name: the experiment's name.
        temperature: handed to both models, > 0.
        seed: seeds Python, NumPy and torch here, in the constructor. Pass the student as a class or function
            to have it built after that.
        track_grad_norm: order of the logged gradient norms; -1 for none.
        accumulate_grad_batches: batches for one optimiser step.
        accelerator: None follows num_gpu_used; else "cpu", "gpu", "mps", "ddp", "ddp_cpu".
        num_nodes: machines.
        precision: 16 (mixed; on a CPU full precision is taken and said), 32, "bf16-mixed", ...
        deterministic: ask for deterministic algorithms.
        resume_from_checkpoint: path of a checkpoint; "" and None start afresh.
        train_data_loader: yields tuples, unpacked as the models' positional inputs.
        val_data_loaders: name -> loader.
        inference_pipeline: object with run_inference_pipeline(model, data_loader) -> {"inference_result": number}.
        student_model: an nn.Module that returns {"prob", "logits", "log_prob"[, "loss"]}, or a callable that makes it.
        teacher_model: an nn.Module that returns {"prob", "logits"}.
        logging_param: hyperparameters to log, any mapping.

    Raises:
        ConfigError: if an argument is wrong; nothing has been written then.
    """

    def __init__(
        self,
        num_gpu_used: int = 0,
        max_epoch: int = 10,
        optimize_method: Any = "adam",
        scheduler_method: Any = "",
        learning_rate: float = 0.0001,
        num_lr_warm_up_epoch: float = 0,
        final_loss_coeff_dict: Mapping[str, float] = KD_LOSS_ALONE,
        log_to_comet: bool = False,
        comet_info_path: str | Path = "",
        comet_exp_name: str = "",
        temperature: float = 1,
        seed: int = 32,
        track_grad_norm: float = 2,
        accumulate_grad_batches: int = 1,
        accelerator: str | None = None,
        num_nodes: int = 1,
        precision: int | str = 16,
        deterministic: bool = True,
        resume_from_checkpoint: str | Path | None = None,
        train_data_loader: Any = None,
        val_data_loaders: Mapping[str, Any] | None = None,
        inference_pipeline: Any = None,
        student_model: nn.Module | Callable[[], nn.Module] | None = None,
        teacher_model: nn.Module | None = None,
        logging_param: Mapping[str, Any] | None = None,
    ) -> None:
        for name, model in (("student_model", student_model), ("teacher_model", teacher_model)):
            if model is None:
                raise ConfigError(f"{name} is missing: pass an nn.Module.")
        if not isinstance(teacher_model, nn.Module):
            raise ConfigError(f"teacher_model must be an nn.Module, got {type(teacher_model).__name__}.")
        check_arguments(train_data_loader, val_data_loaders, max_epoch, seed)
        given = {
            "log_to_comet": log_to_comet,
            "comet_info_path": comet_info_path,
            "comet_exp_name": comet_exp_name,
            "resume_from_checkpoint": resume_from_checkpoint,
        }
        check_accepted("KnowledgeDistillationTraining", KnowledgeDistillationTraining, given)
        check_names(val_data_loaders or {}, (*ALWAYS_COMPUTED, *MONITORS))
        check_positive("learning_rate", learning_rate)
        check_positive("temperature", temperature)
        check_number("num_lr_warm_up_epoch", num_lr_warm_up_epoch, 0)
        check_whole("accumulate_grad_batches", accumulate_grad_batches)
        check_whole("num_nodes", num_nodes)
        gradient_norm = check_norm(track_grad_norm)
        hyperparameters = check_logging(logging_param)
        if deterministic not in (True, False, "warn") or isinstance(deterministic, int) != isinstance(
            deterministic, bool
        ):
            raise ConfigError(f"deterministic must be True, False or 'warn', got {deterministic!r}.")
        check_optimizer(optimize_method)
        check_schedule(scheduler_method)
        if val_data_loaders:
            if inference_pipeline is None:
                raise ConfigError("inference_pipeline is missing: val_data_loaders cannot be scored without it.")
            check_pipeline(inference_pipeline)
        devices = devices_of(num_gpu_used, accelerator)
        self.resume_from_checkpoint = str(resume_from_checkpoint) if resume_from_checkpoint else None
        if self.resume_from_checkpoint and not is_file(self.resume_from_checkpoint):
            raise CheckpointError(f"resume_from_checkpoint: there is no file {self.resume_from_checkpoint}.")
        seed_everything(seed, verbose=False)
        if not isinstance(student_model, nn.Module):
            student_model = built(student_model)
        self.pytorch_lightning_module = KnowledgeDistillModel(
            num_gpu_used=num_gpu_used,
            max_epoch=max_epoch,
            temperature=temperature,
            optimize_method=optimize_method,
            scheduler_method=scheduler_method,
            learning_rate=learning_rate,
            num_lr_warm_up_epoch=num_lr_warm_up_epoch,
            final_loss_coeff_dict=final_loss_coeff_dict,
            train_data_loader=train_data_loader,
            val_data_loaders=val_data_loaders,
            inference_pipeline=inference_pipeline,
            student_model=student_model,
            teacher_model=teacher_model,
        )
        self.pytorch_lightning_module.gradient_norm = gradient_norm
        folder = None if log_to_comet else Path("checkpoints")
        best = checkpoint_callback(folder, metric=next(iter(val_data_loaders or {}), None), pipeline=inference_pipeline)
        self.trainer = trainer_with(
            {
                **devices,
                "max_epochs": max_epoch,
                "num_nodes": num_nodes,
                "precision": precision_of(precision, devices["accelerator"]),
                "deterministic": deterministic,
                "accumulate_grad_batches": accumulate_grad_batches,
                "logger": False,
                "log_every_n_steps": max(1, min(50, loader_length(train_data_loader) or 50)),
                "callbacks": [
                    best,
                    LastCheckpoint(folder),
                    LearningRateMonitor(logging_interval="step"),
                    ScorePrinter(),
                    LossProgressBar(),
                ],
                "plugins": durable(None),
                "enable_model_summary": False,
                "inference_mode": False,
                "num_sanity_val_steps": -1 if val_data_loaders else 0,
            }
        )
        # Only now, when nothing is refused any more: an experiment at Comet and files of metrics are begun.
        loggers: list[Logger] = [comet_from_file(comet_info_path, comet_exp_name)] if log_to_comet else []
        loggers.append(CSVLogger(".", name="lightning_logs"))
        self.trainer.loggers = loggers
        log_hyperparameters(loggers, hyperparameters)

    def start_kd_training(self) -> None:
        """Run the whole training, after the doctor's quick look at it, whose findings go to the log."""
        if not self.resume_from_checkpoint and self.trainer.is_global_zero:
            set_last_aside(Path("checkpoints"))
            self._look()
        if self.resume_from_checkpoint:
            check_checkpoint(self.resume_from_checkpoint, self.pytorch_lightning_module)
        fit(self.trainer, self.pytorch_lightning_module, None, self.resume_from_checkpoint)

    def _look(self) -> None:
        """On copies: models that count or remember their calls see those of the training alone, as they always did."""
        module, trainer = self.pytorch_lightning_module, self.trainer
        models = (module.teacher_model, module.student_model)
        size = sum(p.numel() * p.element_size() for model in models if model is not None for p in model.parameters())
        if size > LARGEST_COPY:
            logger.info("The doctor did not look at this training: copies of its models take %d bytes.", size)
            return
        try:
            teacher, student = copy.deepcopy(models)
        except Exception as error:  # any object of the user's may fail here in its own way
            logger.info("The doctor did not look at this training: the models cannot be copied: %s", error)
            return
        preflight(
            teacher,
            student,
            module.train_loader,
            module.val_loaders,
            objective=module.objective,
            pipeline=module.pipeline,
            adapter="original",
            temperature=module.temperature,
            optimizer=module.optimizer,
            learning_rate=module.learning_rate,
            schedule=module.schedule,
            max_epochs=trainer.max_epochs,
            warm_up_epochs=module.warm_up_epochs,
            trainer={"precision": trainer.precision, "accumulate_grad_batches": trainer.accumulate_grad_batches},
        )

    def get_student_model(self) -> nn.Module:
        """The very student that was passed in, trained in place."""
        return self.pytorch_lightning_module.get_student_model()
