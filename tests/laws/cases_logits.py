"""Cases of the losses that take class scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr, expit, log_softmax, logsumexp, rel_entr, softmax
from torch import Tensor

from knowledge_distillation.losses import Loss
from knowledge_distillation.losses.logits.ctkd import ctkd
from knowledge_distillation.losses.logits.dkd import DKD, dkd
from knowledge_distillation.losses.logits.logit_mse import LogitMSE, logit_mse
from knowledge_distillation.losses.logits.logit_standardization import LogitStandardization, logit_standardization
from tests.laws.case import Case, Inputs
from tests.laws.cases_core import kd_oracle, labelled_logits, logits, tokens

Settings = Mapping[str, Any]
Array = NDArray[np.float64]


def labelled_tokens(generator: torch.Generator, batch: int) -> Inputs:
    pair = tokens(generator, batch)
    labels = torch.randint(0, 11, (batch, 4), generator=generator)
    return Inputs(student=pair.student, teacher=pair.teacher, needs={"labels": labels})


def rows(inputs: Inputs) -> tuple[Array, Array]:
    """Student and teacher logits, one row per item."""
    width = inputs.student.shape[-1]
    return inputs.student.reshape(-1, width).numpy(), inputs.teacher.reshape(-1, width).numpy()


def labelled_rows(inputs: Inputs) -> list[tuple[Array, Array, int]]:
    return list(zip(*rows(inputs), inputs.needs["labels"].flatten().tolist(), strict=True))


def soft_cross_entropy_oracle(inputs: Inputs, settings: Settings) -> float:
    temperature = settings["temperature"]
    student, teacher = rows(inputs)
    target = softmax(teacher / temperature, axis=-1)
    entropy, divergence = entr(target).sum(-1), rel_entr(target, softmax(student / temperature, axis=-1)).sum(-1)
    factor = temperature**2 if settings.get("scale_by_temperature_squared") else 1.0
    return float(factor * (entropy + divergence).mean())


def logit_mse_oracle(inputs: Inputs, settings: Settings) -> float:
    total = 0.0
    student, teacher = rows(inputs)
    for ours, theirs in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        total += ((ours - theirs) / settings["temperature"]) ** 2
    return total / student.size


def dkd_oracle(inputs: Inputs, settings: Settings) -> float:
    temperature = settings["temperature"]
    values = []
    for student, teacher, label in labelled_rows(inputs):
        p_teacher, p_student = softmax(teacher / temperature), softmax(student / temperature)
        two_way = [[p[label], np.delete(p, label).sum()] for p in (p_teacher, p_student)]
        others = [np.delete(p, label) / np.delete(p, label).sum() for p in (p_teacher, p_student)]
        target, rest = rel_entr(*map(np.array, two_way)).sum(), rel_entr(*others).sum()
        values.append(settings["target_weight"] * target + settings["nontarget_weight"] * rest)
    return float(temperature**2 * np.mean(values))


def nkd_oracle(inputs: Inputs, settings: Settings) -> float:
    temperature = settings["temperature"]
    values = []
    for student, teacher, label in labelled_rows(inputs):
        target = -softmax(teacher)[label] * math.log(softmax(student)[label])
        ours, theirs = np.delete(student, label) / temperature, np.delete(teacher, label) / temperature
        rest = -(softmax(theirs) * np.log(softmax(ours))).sum()
        values.append(target + settings["nontarget_weight"] * temperature**2 * rest)
    return float(np.mean(values))


def wsld_oracle(inputs: Inputs, settings: Settings) -> float:
    temperature = settings["temperature"]
    values = []
    for student, teacher, label in labelled_rows(inputs):
        ours, theirs = logsumexp(student) - student[label], logsumexp(teacher) - teacher[label]
        weight = 1.0 - math.exp(-ours / (theirs + 1e-7))
        soft = -(softmax(teacher / temperature) * log_softmax(student / temperature)).sum()
        values.append(weight * temperature**2 * soft)
    return float(np.mean(values))


def batch_correlation_oracle(inputs: Inputs, settings: Settings) -> float:
    student, teacher = (softmax(scores / settings["temperature"], axis=-1) for scores in rows(inputs))
    return float(((teacher @ teacher.T - student @ student.T) ** 2).sum() / len(student))


def class_correlation_oracle(inputs: Inputs, settings: Settings) -> float:
    student, teacher = (softmax(scores / settings["temperature"], axis=-1) for scores in rows(inputs))
    return float(((teacher.T @ teacher - student.T @ student) ** 2).sum() / student.shape[1])


def mlkd_oracle(inputs: Inputs, settings: Settings) -> float:
    parts = {
        "instance_weight": kd_oracle,
        "batch_weight": batch_correlation_oracle,
        "class_weight": class_correlation_oracle,
    }
    return sum(
        settings[weight] * part(inputs, {"temperature": temperature})
        for temperature in settings["temperatures"]
        for weight, part in parts.items()
    )


def dist_oracle(inputs: Inputs, settings: Settings) -> float:
    def correlation(first: Array, second: Array) -> float:
        first, second = first - first.mean(), second - second.mean()
        return float(first @ second / (math.sqrt(first @ first) * math.sqrt(second @ second) + settings["eps"]))

    student, teacher = (softmax(scores / settings["temperature"], axis=-1) for scores in rows(inputs))
    inter = 1.0 - np.mean([correlation(*pair) for pair in zip(student, teacher, strict=True)])
    intra = 1.0 - np.mean([correlation(*pair) for pair in zip(student.T, teacher.T, strict=True)])
    if len(student) == 1:
        intra = 0.0
    weighted = settings["inter_weight"] * inter + settings["intra_weight"] * intra
    return float(settings["temperature"] ** 2 * weighted)


def z_scores(scores: Array, settings: Settings) -> Array:
    spread = scores.std(axis=-1, ddof=1 if settings.get("unbiased") else 0, keepdims=True)
    return (scores - scores.mean(axis=-1, keepdims=True)) / (spread + settings.get("eps", 1e-7))


def on_z_scores(inputs: Inputs, settings: Settings, scale: float = 1.0) -> Inputs:
    student, teacher = (torch.from_numpy(scale * z_scores(scores, settings)) for scores in rows(inputs))
    return Inputs(student=student, teacher=teacher, needs=inputs.needs)


def standardized_kd_oracle(inputs: Inputs, settings: Settings) -> float:
    return kd_oracle(on_z_scores(inputs, settings), settings)


def standardized_mse_oracle(inputs: Inputs, settings: Settings) -> float:
    return logit_mse_oracle(on_z_scores(inputs, settings), settings)


def standardized_mse(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    return logit_standardization(inputs.student, inputs.teacher, loss=logit_mse, **settings, **keywords)


def standardized_dkd_oracle(inputs: Inputs, settings: Settings) -> float:
    return dkd_oracle(on_z_scores(inputs, settings), settings)


def standardized_dkd(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    return logit_standardization(inputs.student, inputs.teacher, loss=dkd, **inputs.needs, **settings, **keywords)


def spherical_oracle(inputs: Inputs, settings: Settings) -> float:
    return kd_oracle(on_z_scores(inputs, settings, settings["radius"]), settings)


def teachers_sphere_oracle(inputs: Inputs, settings: Settings) -> float:
    student, teacher = rows(inputs)
    radius = teacher.std(axis=-1, keepdims=True)
    pair = (torch.from_numpy(radius * z_scores(scores, settings)) for scores in (student, teacher))
    return kd_oracle(Inputs(student=next(pair), teacher=next(pair)), settings)


def learned_temperature_call(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    return ctkd(inputs.student, inputs.teacher, global_temperature=module.global_temperature, **settings, **keywords)


def learned_temperature_oracle(inputs: Inputs, settings: Settings) -> float:
    learned = expit(settings["module"].global_temperature.item())
    return kd_oracle(inputs, {"temperature": settings["lowest_temperature"] + settings["temperature_range"] * learned})


def tf_kd_oracle(inputs: Inputs, settings: Settings) -> float:
    temperature, right = settings["temperature"], settings["correct_probability"]
    values = []
    for student, _, label in labelled_rows(inputs):
        virtual = np.full(len(student), (1.0 - right) / (len(student) - 1))
        virtual[label] = right
        softened = virtual ** (1.0 / temperature)
        softened /= softened.sum()
        values.append(rel_entr(softened, softmax(student / settings.get("student_temperature", temperature))).sum())
    return float(np.mean(values))


def label_smoothing_oracle(inputs: Inputs, settings: Settings) -> float:
    smoothing, values = settings["label_smoothing"], []
    for student, _, label in labelled_rows(inputs):
        target = np.full(len(student), smoothing / len(student))
        target[label] += 1.0 - smoothing
        values.append(rel_entr(target, softmax(student / settings["temperature"])).sum())
    return float(np.mean(values))


DKD_SETTINGS = {"temperature": 4.0, "target_weight": 1.0, "nontarget_weight": 8.0}
DIST_SETTINGS = {"inter_weight": 1.0, "intra_weight": 1.0, "eps": 1e-8}
MLKD_WEIGHTS = {"instance_weight": 1.0, "batch_weight": 1.0, "class_weight": 1.0}
CTKD_SETTINGS = {"lowest_temperature": 1.0, "temperature_range": 20.0, "reversal": 1.0}

CASES = [
    Case(name="soft_cross_entropy", inputs=logits, oracle=soft_cross_entropy_oracle, settings={"temperature": 4.0}),
    Case(
        name="soft_cross_entropy",
        inputs=tokens,
        oracle=soft_cross_entropy_oracle,
        settings={"temperature": 2.0, "scale_by_temperature_squared": True},
        item_axes=2,
        label="scaled tokens",
    ),
    Case(name="logit_mse", inputs=logits, oracle=logit_mse_oracle, settings={"temperature": 1.0}),
    Case(
        name="logit_mse", inputs=tokens, oracle=logit_mse_oracle, settings={"temperature": 2.0}, item_axes=2, label="T2"
    ),
    Case(name="dkd", inputs=labelled_logits, oracle=dkd_oracle, settings=DKD_SETTINGS),
    Case(
        name="dkd",
        inputs=labelled_tokens,
        oracle=dkd_oracle,
        settings={"temperature": 1.0, "target_weight": 1.0, "nontarget_weight": 0.5},
        item_axes=2,
        label="tokens",
    ),
    Case(name="nkd", inputs=labelled_logits, oracle=nkd_oracle, settings={"temperature": 1.0, "nontarget_weight": 1.5}),
    Case(
        name="nkd",
        inputs=labelled_tokens,
        oracle=nkd_oracle,
        settings={"temperature": 3.0, "nontarget_weight": 1.5},
        item_axes=2,
        label="tokens",
    ),
    Case(name="wsld", inputs=labelled_logits, oracle=wsld_oracle, settings={"temperature": 2.0}),
    Case(name="batch_correlation", inputs=logits, oracle=batch_correlation_oracle, settings={"temperature": 4.0}),
    Case(
        name="batch_correlation",
        inputs=tokens,
        oracle=batch_correlation_oracle,
        settings={"temperature": 1.0},
        item_axes=2,
        label="tokens",
    ),
    Case(name="class_correlation", inputs=logits, oracle=class_correlation_oracle, settings={"temperature": 4.0}),
    Case(
        name="class_correlation",
        inputs=tokens,
        oracle=class_correlation_oracle,
        settings={"temperature": 1.0},
        item_axes=2,
        label="tokens",
    ),
    Case(
        name="mlkd",
        inputs=logits,
        oracle=mlkd_oracle,
        settings={"temperatures": (2.0, 3.0, 4.0, 5.0, 6.0), **MLKD_WEIGHTS},
    ),
    Case(name="mlkd", inputs=logits, oracle=mlkd_oracle, settings={"temperatures": (1.0,), **MLKD_WEIGHTS}, label="T1"),
    Case(name="dist", inputs=logits, oracle=dist_oracle, settings={"temperature": 1.0, **DIST_SETTINGS}),
    Case(
        name="dist",
        inputs=tokens,
        oracle=dist_oracle,
        settings={"temperature": 4.0, **DIST_SETTINGS},
        item_axes=2,
        label="dense",
    ),
    Case(name="logit_standardization", inputs=logits, oracle=standardized_kd_oracle, settings={"temperature": 2.0}),
    Case(
        name="logit_standardization",
        inputs=logits,
        oracle=standardized_mse_oracle,
        settings={"temperature": 1.0, "unbiased": True},
        module=lambda temperature, **settings: LogitStandardization(LogitMSE(temperature), **settings),
        call=standardized_mse,
        label="logit_mse",
    ),
    Case(
        name="logit_standardization",
        inputs=labelled_logits,
        oracle=standardized_dkd_oracle,
        settings={**DKD_SETTINGS, "unbiased": False},
        module=lambda eps=1e-7, unbiased=False, **settings: LogitStandardization(
            DKD(**settings), eps=eps, unbiased=unbiased
        ),
        call=standardized_dkd,
        label="dkd",
    ),
    Case(name="spherical", inputs=logits, oracle=spherical_oracle, settings={"temperature": 4.0, "radius": 2.0}),
    Case(
        name="spherical",
        inputs=logits,
        oracle=teachers_sphere_oracle,
        settings={"temperature": 4.0, "radius": None},
        label="teacher's radius",
    ),
    Case(
        name="ctkd",
        inputs=logits,
        oracle=learned_temperature_oracle,
        settings=CTKD_SETTINGS,
        call=learned_temperature_call,
    ),
    Case(
        name="tf_kd",
        inputs=labelled_logits,
        oracle=tf_kd_oracle,
        settings={"temperature": 20.0, "correct_probability": 0.99},
    ),
    Case(
        name="tf_kd",
        inputs=labelled_tokens,
        oracle=tf_kd_oracle,
        settings={"temperature": 20.0, "correct_probability": 0.9, "student_temperature": 1.0},
        item_axes=2,
        label="student at 1",
    ),
    Case(
        name="label_smoothing_teacher",
        inputs=labelled_logits,
        oracle=label_smoothing_oracle,
        settings={"label_smoothing": 0.1, "temperature": 1.0},
    ),
    Case(
        name="label_smoothing_teacher",
        inputs=labelled_tokens,
        oracle=label_smoothing_oracle,
        settings={"label_smoothing": 0.0, "temperature": 4.0},
        item_axes=2,
        label="bare label",
    ),
]
