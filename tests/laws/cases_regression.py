"""Cases of the losses for regression and for multi-label tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import expit, huber, rel_entr
from scipy.stats import norm
from torch import Tensor

from knowledge_distillation.losses.regression.binary_kl import BinaryKL, binary_kl
from tests.laws.case import Case, Inputs


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def predictions(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=2 * normal(generator, batch, 3), teacher=2 * normal(generator, batch, 3))


def series(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=2 * normal(generator, batch, 4, 2), teacher=2 * normal(generator, batch, 4, 2))


def boxes(generator: torch.Generator, batch: int) -> Inputs:
    plain = predictions(generator, batch)
    return Inputs(student=plain.student, teacher=plain.teacher, needs={"labels": normal(generator, batch, 3)})


def gaussians(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = ([normal(generator, batch, 2), normal(generator, batch, 2)] for _ in range(2))
    return Inputs(student=student, teacher=teacher)


def sure_teacher(generator: torch.Generator, batch: int) -> Inputs:
    pair = gaussians(generator, batch)
    return Inputs(student=pair.student[0], teacher=pair.teacher)


def tags(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=3 * normal(generator, batch, 6), teacher=3 * normal(generator, batch, 6))


def tag_maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=2 * normal(generator, batch, 3, 5), teacher=2 * normal(generator, batch, 3, 5))


def penalties(gap: Any, settings: Mapping[str, Any]) -> Any:
    return huber(settings.get("delta", 1.0), gap) if settings.get("penalty") == "huber" else gap**2


def soft_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return float(np.mean(penalties(inputs.student.numpy() - inputs.teacher.numpy(), settings)))


def label_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return float(np.mean(penalties(inputs.student.numpy() - inputs.needs["labels"].numpy(), settings)))


def bounded_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    rows = zip(inputs.student.numpy(), inputs.teacher.numpy(), inputs.needs["labels"].numpy(), strict=True)
    values = []
    for student, teacher, label in rows:
        own, bound = penalties(student - label, settings).sum(), penalties(teacher - label, settings).sum()
        values.append(own if own + settings.get("margin", 0.0) > bound else 0.0)
    return float(np.mean(values))


def gaussian_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    """The integral that the divergence is, number by number."""
    teacher = [part.flatten().tolist() for part in inputs.teacher]
    parts = inputs.student if isinstance(inputs.student, list) else [inputs.student, inputs.teacher[1]]
    student = [part.flatten().tolist() for part in parts]
    total = sum(divergence(*parts) for parts in zip(*student, *teacher, strict=True))
    return total / len(inputs.teacher[0])


def divergence(student_mean: float, student_log: float, teacher_mean: float, teacher_log: float) -> float:
    theirs, ours = norm(teacher_mean, np.exp(teacher_log / 2)), norm(student_mean, np.exp(student_log / 2))

    def integrand(point: float) -> float:
        return float(theirs.pdf(point) * (theirs.logpdf(point) - ours.logpdf(point)))

    reach = 13 * np.exp(teacher_log / 2)
    value, _ = quad(integrand, teacher_mean - reach, teacher_mean + reach, epsabs=1e-13, epsrel=1e-12, limit=200)
    return float(value)


def binary_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    scaled = inputs.student.numpy() / settings["temperature"], inputs.teacher.numpy() / settings["temperature"]
    yes = rel_entr(expit(scaled[1]), expit(scaled[0]))
    no = rel_entr(expit(-scaled[1]), expit(-scaled[0]))
    return float(np.mean((yes + no).sum(-1)))


def known(teacher: Tensor) -> Tensor:
    """Classes that count, chosen from the teacher's logits so that they move with renamed classes."""
    return teacher > -1.0


def known_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    hidden = ~known(inputs.teacher)
    silent = replace(
        inputs, student=inputs.student.masked_fill(hidden, 0), teacher=inputs.teacher.masked_fill(hidden, 0)
    )
    return binary_oracle(silent, settings)


class KnownBinaryKL(BinaryKL):
    def forward(self, student_logits: Tensor, teacher_logits: Tensor, **keywords: Any) -> Tensor:
        return super().forward(student_logits, teacher_logits, class_mask=known(teacher_logits), **keywords)


def call_known(inputs: Inputs, module: Any, settings: Mapping[str, Any], **keywords: Any) -> Tensor:
    return binary_kl(inputs.student, inputs.teacher, class_mask=known(inputs.teacher), **settings, **keywords)


def right_answer(inputs: Inputs) -> Inputs:
    return replace(inputs, teacher=inputs.student.clone(), needs={"labels": inputs.student.clone()})


def same_mean(inputs: Inputs) -> Inputs:
    return replace(inputs, teacher=[inputs.student.clone(), inputs.teacher[1]])


CASES = [
    Case(name="soft_regression", inputs=predictions, oracle=soft_oracle),
    Case(
        name="soft_regression",
        inputs=series,
        oracle=soft_oracle,
        settings={"penalty": "huber", "delta": 0.7},
        item_axes=2,
        label="huber",
    ),
    Case(name="label_regression", inputs=boxes, oracle=label_oracle),
    Case(
        name="label_regression",
        inputs=boxes,
        oracle=label_oracle,
        settings={"penalty": "huber", "delta": 0.7},
        label="huber",
    ),
    Case(name="bounded_regression", inputs=boxes, oracle=bounded_oracle),
    Case(
        name="bounded_regression",
        inputs=boxes,
        oracle=bounded_oracle,
        settings={"margin": 1.5},
        equality=right_answer,
        label="margin",
    ),
    Case(
        name="bounded_regression",
        inputs=boxes,
        oracle=bounded_oracle,
        settings={"penalty": "huber", "delta": 0.5},
        label="huber",
    ),
    Case(name="gaussian_kl", inputs=gaussians, oracle=gaussian_oracle),
    Case(name="gaussian_kl", inputs=sure_teacher, oracle=gaussian_oracle, equality=same_mean, label="mean_only"),
    Case(name="binary_kl", inputs=tags, oracle=binary_oracle, settings={"temperature": 1.0}),
    Case(
        name="binary_kl",
        inputs=tag_maps,
        oracle=binary_oracle,
        settings={"temperature": 3.0},
        item_axes=2,
        label="maps",
    ),
    Case(
        name="binary_kl",
        inputs=tags,
        oracle=known_oracle,
        settings={"temperature": 2.0},
        module=KnownBinaryKL,
        call=call_known,
        label="classes",
    ),
]
