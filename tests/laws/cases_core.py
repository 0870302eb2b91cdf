"""Cases of the losses that the foundation stands on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cosine as scipy_cosine
from scipy.special import log_softmax, logsumexp, rel_entr, softmax

from tests.laws.case import Case, Inputs


def logits(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = torch.randn(2, batch, 7, generator=generator, dtype=torch.float64) * 3
    return Inputs(student=student, teacher=teacher)


def tokens(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = torch.randn(2, batch, 4, 11, generator=generator, dtype=torch.float64) * 2
    return Inputs(student=student, teacher=teacher)


def labelled_logits(generator: torch.Generator, batch: int) -> Inputs:
    pair = logits(generator, batch)
    labels = torch.randint(0, 7, (batch,), generator=generator)
    return Inputs(student=pair.student, teacher=pair.teacher, needs={"labels": labels})


def kl_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    temperature = settings.get("temperature", 1.0)
    teacher = softmax(inputs.teacher.numpy() / temperature, axis=-1)
    student = softmax(inputs.student.numpy() / temperature, axis=-1)
    return float(rel_entr(teacher, student).sum(-1).mean())


def kd_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return settings["temperature"] ** 2 * kl_oracle(inputs, settings)


def log_probs(generator: torch.Generator, batch: int) -> Inputs:
    pair = logits(generator, batch)
    return Inputs(student=pair.student.log_softmax(-1), teacher=pair.teacher.log_softmax(-1))


def kd_from_log_probs_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = np.exp(inputs.student.numpy()), np.exp(inputs.teacher.numpy())
    return settings["temperature"] ** 2 * float(rel_entr(teacher, student).sum(-1).mean())


def cosine_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    pairs = zip(inputs.student.numpy(), inputs.teacher.numpy(), strict=True)
    return float(np.mean([scipy_cosine(student, teacher) for student, teacher in pairs]))


def cross_entropy_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    scores, smoothing = inputs.student.numpy(), settings.get("label_smoothing", 0.0)
    picked = [row[label] - logsumexp(row) for row, label in zip(scores, inputs.needs["labels"].tolist(), strict=True)]
    uniform = log_softmax(scores, axis=-1).mean(-1)
    return float(-np.mean((1 - smoothing) * np.array(picked) + smoothing * uniform))


CASES = [
    Case(name="kd", inputs=logits, oracle=kd_oracle, settings={"temperature": 4.0}),
    Case(name="kd", inputs=logits, oracle=kd_oracle, settings={"temperature": 1.0}, label="T1"),
    Case(
        name="kd_from_log_probs",
        inputs=log_probs,
        oracle=kd_from_log_probs_oracle,
        settings={"temperature": 3.0},
    ),
    Case(name="forward_kl", inputs=logits, oracle=kl_oracle, settings={"temperature": 2.0}),
    Case(
        name="forward_kl", inputs=tokens, oracle=kl_oracle, settings={"temperature": 1.0}, item_axes=2, label="tokens"
    ),
    Case(name="cosine", inputs=logits, oracle=cosine_oracle),
    Case(name="cross_entropy", inputs=labelled_logits, oracle=cross_entropy_oracle),
    Case(
        name="cross_entropy",
        inputs=labelled_logits,
        oracle=cross_entropy_oracle,
        settings={"label_smoothing": 0.1},
        label="smoothed",
    ),
]
