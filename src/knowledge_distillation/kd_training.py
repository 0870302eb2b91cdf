"""The original Knowledge Distillation Toolkit's front door: its two classes, arguments and defaults, unchanged.

It only translates arguments; the work is done by `DistillationModule` and a Lightning Trainer. What behaves
differently from the original, on purpose, is listed in the documentation under "Moving from the original toolkit".
"""

from __future__ import annotations

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

from knowledge_distillation.errors import CheckpointError, ConfigError, ModelContractError, nearest
from knowledge_distillation.losses import Cosine, KDFromLogProbs
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.objective import Objective, Term
from knowledge_distillation.run import check_arguments, loader_length
from knowledge_distillation.teachers import LiveTeacher
from knowledge_distillation.training.module import DistillationModule, own_weights
from knowledge_distillation.training.optimizers import check_optimizer
from knowledge_distillation.training.pipelines import check_pipeline
from knowledge_distillation.training.progress import LossProgressBar
from knowledge_distillation.training.schedules import check_schedule
from knowledge_distillation.training.tracking import comet_from_file, log_hyperparameters
from knowledge_distillation.training.trainer import checkpoint_callback, trainer_with

logger = logging.getLogger(__name__)

ACCELERATORS = (None, "auto", "cpu", "gpu", "cuda", "mps", "ddp", "ddp_cpu", "ddp_spawn")
ALWAYS_COMPUTED = ("kd_loss", "cos_embed_loss")
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
            original_objective(final_loss_coeff_dict or KD_LOSS_ALONE, softness),
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
        self.max_epoch = max_epoch
        self.final_loss_coeff_dict = dict(final_loss_coeff_dict or KD_LOSS_ALONE)

    @property
    def teacher_model(self) -> nn.Module | None:
        """The teacher that was passed in."""
        return self._teacher.model if isinstance(self._teacher, LiveTeacher) else None

    def get_student_model(self) -> nn.Module:
        """The very student that was passed in."""
        return self.student_model

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: Any = "cpu", **arguments: Any
    ) -> KnowledgeDistillModel:
        """Build the module from `arguments` and load the student's weights from a checkpoint.

        Checkpoints of the original toolkit load as well; the teacher and the hyperparameters inside them are left
        out. Only tensors and plain data are read, nothing in the file is run.

        Args:
            checkpoint_path: a .ckpt file.
            map_location: as in `torch.load`.
            arguments: the constructor's, dummies included.

        Raises:
            CheckpointError: if the file is missing, unreadable, or does not fit the student.
        """
        state = read_student_weights(checkpoint_path, map_location)
        module = cls(**arguments)
        try:
            module.student_model.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"The checkpoint {checkpoint_path} does not fit this student: {error}") from error
        return module


def read_student_weights(checkpoint_path: str | Path, map_location: Any = "cpu") -> dict[str, torch.Tensor]:
    """The student's state dict from a checkpoint of this toolkit or of the original.

    Raises:
        CheckpointError: if the file is missing, holds anything but plain data, or has no student in it.
    """
    try:
        checkpoint = torch.load(checkpoint_path, map_location=map_location, weights_only=True)
    except Exception as error:  # missing, truncated, or refused by the safe reader
        raise CheckpointError(f"The checkpoint {checkpoint_path} cannot be read safely: {error}") from error
    prefix = "student_model."
    weights = own_weights(checkpoint.get("state_dict", {}) if isinstance(checkpoint, Mapping) else {})
    student = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    if not student:
        raise CheckpointError(f"The checkpoint {checkpoint_path} holds no entry under {prefix!r}, so no student.")
    return student


def original_objective(coefficients: Mapping[str, float], temperature: float) -> Objective:
    """The original's objective: kd_loss, cos_embed_loss and the student's own losses, with two monitors.

    Args:
        coefficients: loss name -> coefficient; losses without one are logged only.
        temperature: squared onto kd_loss.

    Raises:
        ConfigError: if there is no coefficient above 0.
    """
    if not isinstance(coefficients, Mapping) or not all(isinstance(name, str) for name in coefficients):
        raise ConfigError(f"final_loss_coeff_dict must map loss names to numbers, got {coefficients!r}.")
    terms: dict[str, Term] = {
        "kd_loss": Term(KDFromLogProbs(temperature), coefficients.get("kd_loss", 0), "log_probs", "log_probs"),
        "cos_embed_loss": Term(Cosine(), coefficients.get("cos_embed_loss", 0)),
    }
    for name, coefficient in coefficients.items():
        if name not in ALWAYS_COMPUTED:
            terms[name] = Term("own", coefficient, student=name)
    terms["train_logit_diff"] = Term(nn.MSELoss(), 0)
    terms["train_prob_diff"] = Term(nn.L1Loss(), 0, "prob", "prob")
    return Objective(terms)


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
        comet_info_path: str = "",
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
        check_positive("learning_rate", learning_rate)
        check_positive("temperature", temperature)
        if num_lr_warm_up_epoch < 0:
            raise ConfigError(f"num_lr_warm_up_epoch must be at least 0, got {num_lr_warm_up_epoch!r}.")
        if (
            isinstance(accumulate_grad_batches, bool)
            or not isinstance(accumulate_grad_batches, int)
            or accumulate_grad_batches < 1
        ):
            raise ConfigError(
                f"accumulate_grad_batches must be a whole number of at least 1, got {accumulate_grad_batches!r}."
            )
        check_optimizer(optimize_method)
        check_schedule(scheduler_method)
        if val_data_loaders:
            if inference_pipeline is None:
                raise ConfigError("inference_pipeline is missing: val_data_loaders cannot be scored without it.")
            check_pipeline(inference_pipeline)
        devices = _devices(num_gpu_used, accelerator)
        self.resume_from_checkpoint = str(resume_from_checkpoint) if resume_from_checkpoint else None
        if self.resume_from_checkpoint and not Path(self.resume_from_checkpoint).is_file():
            raise CheckpointError(f"resume_from_checkpoint: there is no file {self.resume_from_checkpoint}.")
        loggers: list[Logger] = [comet_from_file(comet_info_path, comet_exp_name)] if log_to_comet else []
        seed_everything(seed, verbose=False)
        if not isinstance(student_model, nn.Module):
            student_model = _built(student_model)
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
        self.pytorch_lightning_module.gradient_norm = track_grad_norm if track_grad_norm != -1 else None
        loggers.append(CSVLogger(".", name="lightning_logs"))
        log_hyperparameters(loggers, logging_param)
        metric = next(iter(val_data_loaders or {}), None)
        checkpoints = checkpoint_callback(
            None if log_to_comet else Path("checkpoints"), metric=metric, pipeline=inference_pipeline
        )
        self.trainer = trainer_with(
            {
                **devices,
                "max_epochs": max_epoch,
                "num_nodes": num_nodes,
                "precision": _precision(precision, devices["accelerator"]),
                "deterministic": deterministic,
                "accumulate_grad_batches": accumulate_grad_batches,
                "logger": loggers,
                "log_every_n_steps": max(1, min(50, loader_length(train_data_loader) or 50)),
                "callbacks": [
                    checkpoints,
                    LearningRateMonitor(logging_interval="step"),
                    ScorePrinter(),
                    LossProgressBar(),
                ],
                "enable_model_summary": False,
                "inference_mode": False,
                "num_sanity_val_steps": -1 if val_data_loaders else 0,
            }
        )

    def start_kd_training(self) -> None:
        """Run the whole training."""
        self.trainer.fit(
            self.pytorch_lightning_module,
            ckpt_path=self.resume_from_checkpoint,
            weights_only=True if self.resume_from_checkpoint else None,
        )

    def get_student_model(self) -> nn.Module:
        """The very student that was passed in, trained in place."""
        return self.pytorch_lightning_module.get_student_model()


def _built(make: Any) -> nn.Module:
    if not callable(make):
        raise ConfigError(
            f"student_model must be an nn.Module or a callable that makes one, got {type(make).__name__}."
        )
    student = make()
    if not isinstance(student, nn.Module):
        raise ModelContractError(f"student_model() must return an nn.Module, got {type(student).__name__}.")
    return student


def _devices(num_gpu_used: Any, accelerator: str | None) -> dict[str, Any]:
    """Lightning's accelerator, devices and strategy for the original's two arguments."""
    if isinstance(num_gpu_used, bool) or not isinstance(num_gpu_used, int) or num_gpu_used < 0:
        raise ConfigError(f"num_gpu_used must be a whole number of at least 0, got {num_gpu_used!r}.")
    if accelerator not in ACCELERATORS:
        raise ConfigError(
            f"There is no accelerator {accelerator!r}. {nearest(str(accelerator), filter(None, ACCELERATORS))}"
        )
    if accelerator in ("gpu", "cuda", "mps"):
        num_gpu_used = max(1, num_gpu_used)
    if accelerator in ("cpu", "ddp_cpu") and num_gpu_used > 0:
        raise ConfigError(f"accelerator={accelerator!r} contradicts num_gpu_used={num_gpu_used}: set one of them.")
    if num_gpu_used == 0:
        strategy = "ddp" if accelerator == "ddp_cpu" else "auto"
        return {"accelerator": "auto" if accelerator == "auto" else "cpu", "devices": 1, "strategy": strategy}
    kind = "mps" if accelerator == "mps" else "gpu"
    there = (
        torch.cuda.device_count()
        if kind == "gpu" and torch.cuda.is_available()
        else int(torch.backends.mps.is_available())
    )
    if there < num_gpu_used:
        raise ConfigError(
            f"num_gpu_used={num_gpu_used} but {there} GPUs are there. Use num_gpu_used={there}, or 0 for the CPU."
        )
    strategy = "ddp_find_unused_parameters_true" if num_gpu_used > 1 else "auto"
    return {"accelerator": kind, "devices": num_gpu_used, "strategy": strategy}


def _precision(precision: int | str, accelerator: str) -> int | str:
    known = {
        16: "16-mixed",
        "16": "16-mixed",
        "bf16": "bf16-mixed",
        32: "32-true",
        "32": "32-true",
        64: "64-true",
        "64": "64-true",
    }
    chosen = known.get(precision, precision)
    if chosen == "16-mixed" and accelerator == "cpu":
        logger.warning("precision=16 needs a GPU; training on the CPU in 32-bit precision instead.")
        return "32-true"
    return chosen
