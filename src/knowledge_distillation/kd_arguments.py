"""The original toolkit's arguments: checked, and translated to Lightning's."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import check_whole, is_finite_number
from knowledge_distillation.capture.adapters import GIVEN_PROB
from knowledge_distillation.errors import ConfigError, ModelContractError, nearest
from knowledge_distillation.losses import Cosine, KDFromLogProbs, LogitMSE
from knowledge_distillation.losses.inputs import check_same_shape
from knowledge_distillation.objective import Objective, Term
from knowledge_distillation.training.plan import check_makes

logger = logging.getLogger("knowledge_distillation.kd_training")

ACCELERATORS = (None, "auto", "cpu", "gpu", "cuda", "mps", "ddp", "ddp_cpu", "ddp_spawn")
ALWAYS_COMPUTED = ("kd_loss", "cos_embed_loss")
MONITORS = ("train_logit_diff", "train_prob_diff")


def check_number(name: str, value: Any, least: float) -> None:
    """Raise ConfigError unless the value is a finite number of at least `least`."""
    if not is_finite_number(value) or value < least:
        raise ConfigError(f"{name} must be a finite number of at least {least}, got {value!r}.")


def check_norm(order: Any) -> float | None:
    """The order of the gradient norms to log, or None for -1.

    Raises:
        ConfigError: if it is neither -1 nor a number above 0 (infinity is one).
    """
    if order == -1 and not isinstance(order, bool):
        return None
    if isinstance(order, bool) or not isinstance(order, (int, float)) or math.isnan(order) or order <= 0:
        raise ConfigError(f"track_grad_norm must be a number above 0, or -1 for none; got {order!r}.")
    return float(order)


def check_logging(logging_param: Any) -> dict[str, Any]:
    """The hyperparameters to log as a dict, from None or any mapping.

    Raises:
        ConfigError: if it is something else.
    """
    if logging_param is None:
        return {}
    if not isinstance(logging_param, Mapping):
        raise ConfigError(f"logging_param must be a mapping of names to values, got {logging_param!r}.")
    return dict(logging_param)


def original_objective(coefficients: Mapping[str, float], temperature: float) -> Objective:
    """The original's objective: kd_loss, cos_embed_loss and the student's own losses, with two monitors.

    Args:
        coefficients: loss name -> coefficient; losses without one are logged only.
        temperature: squared onto kd_loss.

    Raises:
        ConfigError: if there is no coefficient above 0, or a monitor has one.
    """
    if not isinstance(coefficients, Mapping) or not all(isinstance(name, str) for name in coefficients):
        raise ConfigError(f"final_loss_coeff_dict must map loss names to numbers, got {coefficients!r}.")
    if not coefficients:
        raise ConfigError("final_loss_coeff_dict must give at least one loss a coefficient, such as {'kd_loss': 1}.")
    for name in coefficients:
        if name in (*MONITORS, "train_final_loss"):
            raise ConfigError(f"{name!r} is a monitor and never part of the loss. {nearest(name, ALWAYS_COMPUTED)}")
    terms: dict[str, Term] = {
        "kd_loss": Term(KDFromLogProbs(temperature), 0, "log_probs", "log_probs"),
        "cos_embed_loss": Term(Cosine(), 0),
    }
    for name, coefficient in coefficients.items():
        try:
            terms[name] = replace(terms.get(name) or Term("own", student=name), weight=coefficient)
        except ConfigError as error:
            raise ConfigError(f"final_loss_coeff_dict[{name!r}]: {error}") from error
    terms["train_logit_diff"] = Term(LogitMSE(), 0)
    terms["train_prob_diff"] = Term(prob_difference, 0, GIVEN_PROB, GIVEN_PROB)
    return Objective(terms)


def prob_difference(student_prob: Tensor, teacher_prob: Tensor) -> Tensor:
    """Mean absolute difference of the probabilities, [*batch, classes] each -> a scalar; the original's monitor."""
    check_same_shape(student_prob, teacher_prob, "prob")
    return nn.functional.l1_loss(student_prob, teacher_prob)


def built(make: Any) -> nn.Module:
    """The student that a callable makes.

    Raises:
        ConfigError: if it cannot be called.
        ModelContractError: if what it makes is no nn.Module.
    """
    if not callable(make):
        raise ConfigError(
            f"student_model must be an nn.Module or a callable that makes one, got {type(make).__name__}."
        )
    check_makes("student_model", make)
    student = make()
    if not isinstance(student, nn.Module):
        raise ModelContractError(f"student_model() must return an nn.Module, got {type(student).__name__}.")
    return student


def devices_of(num_gpu_used: Any, accelerator: str | None) -> dict[str, Any]:
    """Lightning's accelerator, devices and strategy for the original's two arguments.

    Raises:
        ConfigError: if they contradict each other, or ask for GPUs that are not there.
    """
    check_whole("num_gpu_used", num_gpu_used, 0)
    if accelerator not in ACCELERATORS:
        raise ConfigError(
            f"There is no accelerator {accelerator!r}. {nearest(str(accelerator), filter(None, ACCELERATORS))}"
        )
    if accelerator in ("gpu", "cuda", "mps"):
        num_gpu_used = max(1, num_gpu_used)
    if accelerator in ("cpu", "ddp_cpu") and num_gpu_used > 0:
        raise ConfigError(f"accelerator={accelerator!r} contradicts num_gpu_used={num_gpu_used}: set one of them.")
    if num_gpu_used == 0:
        strategy = "ddp_find_unused_parameters_true" if accelerator == "ddp_cpu" else "auto"
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
    spawned = (
        "ddp_spawn_find_unused_parameters_true" if accelerator == "ddp_spawn" else "ddp_find_unused_parameters_true"
    )
    strategy = spawned if num_gpu_used > 1 else "auto"
    return {"accelerator": kind, "devices": num_gpu_used, "strategy": strategy}


def precision_of(precision: Any, accelerator: str) -> Any:
    """Lightning's name of a precision; 16 becomes 32 on a CPU, which is said once.

    Raises:
        ConfigError: if it is neither a number nor a name; Lightning refuses unknown names.
    """
    known = {
        16: "16-mixed", "16": "16-mixed", "bf16": "bf16-mixed",
        32: "32-true", "32": "32-true", 64: "64-true", "64": "64-true",
    }  # fmt: skip
    if not isinstance(precision, (int, str)) or isinstance(precision, bool):
        raise ConfigError(f"precision must be 16, 32, 64 or one of Lightning's names, got {precision!r}.")
    chosen = known.get(precision, precision)
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if chosen == "16-mixed" and (accelerator == "cpu" or (accelerator == "auto" and not gpu)):
        logger.warning("precision=16 needs a GPU; training on the CPU in 32-bit precision instead.")
        return "32-true"
    return chosen
