"""How the recorded logit losses of the reference implementations are computed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from knowledge_distillation.losses.logits.batch_correlation import batch_correlation
from knowledge_distillation.losses.logits.class_correlation import class_correlation
from knowledge_distillation.losses.logits.cosine import cosine
from knowledge_distillation.losses.logits.cross_entropy import cross_entropy
from knowledge_distillation.losses.logits.ctkd import ctkd
from knowledge_distillation.losses.logits.dist import dist
from knowledge_distillation.losses.logits.dkd import dkd
from knowledge_distillation.losses.logits.kd import kd, kd_from_log_probs
from knowledge_distillation.losses.logits.logit_mse import logit_mse
from knowledge_distillation.losses.logits.logit_standardization import logit_standardization
from knowledge_distillation.losses.logits.mlkd import mlkd
from knowledge_distillation.losses.logits.nkd import nkd
from knowledge_distillation.losses.logits.soft_cross_entropy import soft_cross_entropy
from knowledge_distillation.losses.logits.wsld import wsld

if TYPE_CHECKING:
    from tests.oracles.golden import Entry


def pair(entry: Entry) -> tuple[Tensor, Tensor]:
    return entry.tensors["student_logits"], entry.tensors["teacher_logits"]


def kd_ce_mix(entry: Entry) -> Tensor:
    settings, (student, teacher) = entry.hyperparameters, pair(entry)
    hard = cross_entropy(student, labels=entry.tensors["labels"])
    return settings["alpha"] * hard + settings["beta"] * kd(student, teacher, temperature=settings["T"])


def kd_without_labels(entry: Entry) -> Tensor:
    return kd(*pair(entry), temperature=entry.hyperparameters["T"])


def original_toolkit(entry: Entry) -> Tensor:
    """The original's model contract: `logits` are already divided by the temperature."""
    temperature, weights = entry.hyperparameters["T"], entry.hyperparameters["coeff"]
    student, teacher = (logits / temperature for logits in pair(entry))
    return weights["kd_loss"] * kd_from_log_probs(
        student.log_softmax(-1), teacher.log_softmax(-1), temperature=temperature
    ) + weights["cos_embed_loss"] * cosine(student, teacher)


def mlkd_with_the_codes_masks(entry: Entry) -> Tensor:
    """Their masks multiply reduced numbers: they are weights. Their strong view sees weak logits at 2 and 6."""
    base, weight = entry.hyperparameters["T"], entry.hyperparameters["kd_weight"]
    tensors = entry.tensors
    weak, strong = tensors["student_weak"], tensors["student_strong"]
    teacher_weak, teacher_strong = tensors["teacher_weak"], tensors["teacher_strong"]
    probabilities = teacher_weak.softmax(-1)
    confidence, mass = probabilities.amax(-1), probabilities.sum(0)
    samples = float((confidence <= torch.quantile(confidence, 0.5)).double().mean())
    classes = float((mass <= torch.quantile(mass, 0.5)).double().mean())
    total = mlkd(
        weak,
        teacher_weak,
        temperatures=(base, 3.0, 5.0, 2.0, 6.0),
        instance_weight=weight * samples,
        batch_weight=weight * samples,
        class_weight=weight * classes,
    )
    for temperature in (base, 3.0, 5.0):
        total = total + weight * kd(strong, teacher_strong, temperature=temperature)
    for temperature in (2.0, 6.0):
        total = total + weight * kd(weak, teacher_weak, temperature=temperature)
    hard = cross_entropy(weak, labels=tensors["labels"]) + cross_entropy(strong, labels=tensors["labels"])
    return total + entry.hyperparameters["ce_weight"] * hard


def kl_mmrazor(entry: Entry) -> Tensor:
    student, teacher = (entry.tensors[name].movedim(1, -1) for name in ("s0", "t0"))
    total = kd(student, teacher, temperature=entry.hyperparameters["T"], reduction="sum")
    divisor = student.numel() if entry.hyperparameters["reduction"] == "mean" else len(student)
    return entry.hyperparameters["loss_weight"] * total / divisor


def dkd_settings(entry: Entry) -> dict[str, float]:
    settings = entry.hyperparameters
    return {"temperature": settings["T"], "target_weight": settings["alpha"], "nontarget_weight": settings["beta"]}


def dense_dist(entry: Entry) -> Tensor:
    student, teacher = (logits.movedim(1, -1) for logits in pair(entry))
    return dist(
        student,
        teacher,
        inter_weight=entry.hyperparameters["beta"],
        intra_weight=entry.hyperparameters["gamma"],
    )


RUNNERS: dict[str, Callable[[Entry], Tensor]] = {
    "kd_hinton": lambda entry: kd(*pair(entry), temperature=entry.hyperparameters["T"]),
    "kd_hinton__repdistiller": lambda entry: kd(*pair(entry), temperature=entry.hyperparameters["T"]),
    "kd_ce_mix__torchdistill": kd_ce_mix,
    "seed_final_loss": original_toolkit,
    "cos_embed_seed": lambda entry: cosine(*pair(entry)),
    "soft_ce": lambda entry: soft_cross_entropy(*pair(entry), temperature=entry.hyperparameters["T"]),
    "soft_ce_T2__mmrazor": lambda entry: (
        entry.hyperparameters["loss_weight"]
        * soft_cross_entropy(*pair(entry), temperature=entry.hyperparameters["T"], scale_by_temperature_squared=True)
    ),
    "mse_logits": lambda entry: logit_mse(*pair(entry), temperature=entry.hyperparameters["T"]),
    "dkd": lambda entry: dkd(*pair(entry), labels=entry.tensors["labels"], **dkd_settings(entry)),
    "dist": lambda entry: dist(
        *pair(entry),
        temperature=entry.hyperparameters["tau"],
        inter_weight=entry.hyperparameters["beta"],
        intra_weight=entry.hyperparameters["gamma"],
    ),
    "dist__seg4d": dense_dist,
    "nkd": lambda entry: nkd(
        *pair(entry),
        labels=entry.tensors["labels"],
        temperature=entry.hyperparameters["temp"],
        nontarget_weight=entry.hyperparameters["gamma"],
    ),
    "wsld": lambda entry: (
        entry.hyperparameters["loss_weight"]
        * wsld(*pair(entry), labels=entry.tensors["labels"], temperature=entry.hyperparameters["T"])
    ),
    "mlkd_bc": lambda entry: batch_correlation(*pair(entry), temperature=entry.hyperparameters["T"]),
    "mlkd_cc": lambda entry: class_correlation(*pair(entry), temperature=entry.hyperparameters["T"]),
    "mlkd_full": mlkd_with_the_codes_masks,
    "lskd_kd": lambda entry: logit_standardization(
        *pair(entry),
        eps=entry.hyperparameters["eps"],
        unbiased=True,
        temperature=entry.hyperparameters["T"],
    ),
    "lskd_dkd": lambda entry: logit_standardization(
        *pair(entry),
        loss=dkd,
        eps=entry.hyperparameters["eps"],
        unbiased=True,
        labels=entry.tensors["labels"],
        **dkd_settings(entry),
    ),
    "ctkd_core": lambda entry: ctkd(
        *pair(entry),
        global_temperature=entry.tensors["global_T"],
        lowest_temperature=entry.hyperparameters["t_start"],
        temperature_range=entry.hyperparameters["t_end"],
        reversal=-entry.hyperparameters["cos_value"],
    ),
    "kl__mmrazor": kl_mmrazor,
}

FAULTS: dict[str, tuple[Callable[[Entry], Tensor], str]] = {
    "kd_alpha0__torchdistill": (
        kd_without_labels,
        "at alpha 0 torchdistill drops the squared temperature and beta: the loss jumps by that factor",
    ),
    "seed_final_loss__resnet_demo_dim0": (
        original_toolkit,
        "the original's demo takes the softmax over the batch instead of the classes",
    ),
}
