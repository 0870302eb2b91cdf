"""Cases of the losses on sentence and image embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import rel_entr, softmax
from torch import Tensor

from knowledge_distillation.losses.embeddings.queue_kl import QueueKL, queue_kl
from tests.laws.case import Case, Inputs


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def relevance(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=3 * normal(generator, batch, 4), teacher=3 * normal(generator, batch, 4))


def relevance_of_sessions(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=normal(generator, batch, 3, 2), teacher=normal(generator, batch, 3, 2))


def embeddings(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=normal(generator, batch, 5), teacher=normal(generator, batch, 5))


def unequal_embeddings(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=normal(generator, batch, 5), teacher=normal(generator, batch, 8))


def margin_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student = inputs.student.reshape(-1, inputs.student.shape[-1]).tolist()
    teacher = inputs.teacher.reshape(-1, inputs.teacher.shape[-1]).tolist()
    errors = [
        ((ours[0] - ours[k]) - (theirs[0] - theirs[k])) ** 2
        for ours, theirs in zip(student, teacher, strict=True)
        for k in range(1, len(ours))
    ]
    return sum(errors) / len(errors)


def cosine_of(left: Any, right: Any) -> float:
    return float(left @ right) / math.sqrt(float(left @ left) * float(right @ right))


def similarity_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    def shares(vectors: Any, anchor: int) -> Any:
        others = [cosine_of(vectors[anchor], vectors[other]) for other in range(len(vectors)) if other != anchor]
        return softmax(np.array(others) / settings["temperature"])

    student, teacher = inputs.student.numpy(), inputs.teacher.numpy()
    distances = [rel_entr(shares(teacher, anchor), shares(student, anchor)).sum() for anchor in range(len(student))]
    return float(np.mean(distances))


def queue_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    queue = settings["module"].queue.numpy()

    def shares(vector: Any, positive: Any, temperature: float) -> Any:
        earlier = [vector @ entry / np.linalg.norm(vector) for entry in queue]
        return softmax(np.array([cosine_of(vector, positive), *earlier]) / temperature)

    distances = []
    for ours, theirs in zip(inputs.student.numpy(), inputs.teacher.numpy(), strict=True):
        student = shares(ours, theirs, settings.get("student_temperature", 0.2))
        teacher = shares(theirs, theirs, settings.get("teacher_temperature", 0.01))
        distances.append(rel_entr(teacher, student).sum())
    return float(np.mean(distances))


def call_queue(inputs: Inputs, module: Any, settings: Mapping[str, Any], **keywords: Any) -> Tensor:
    return queue_kl(inputs.student, inputs.teacher, queue=module.queue.clone(), **settings, **keywords)


CASES = [
    Case(name="margin_mse", inputs=relevance, oracle=margin_oracle),
    Case(name="margin_mse", inputs=relevance_of_sessions, oracle=margin_oracle, item_axes=2, label="sessions"),
    Case(
        name="similarity_kl",
        inputs=embeddings,
        oracle=similarity_oracle,
        settings={"temperature": 0.04},
        minimum_batch=2,
    ),
    Case(
        name="similarity_kl",
        inputs=unequal_embeddings,
        oracle=similarity_oracle,
        settings={"temperature": 0.5},
        minimum_batch=2,
        label="widths",
    ),
    Case(
        name="queue_kl",
        inputs=embeddings,
        oracle=queue_oracle,
        settings={"student_temperature": 0.2, "teacher_temperature": 0.01},
        module=lambda **settings: QueueKL(5, size=9, **settings),
        call=call_queue,
    ),
    Case(
        name="queue_kl",
        inputs=embeddings,
        oracle=queue_oracle,
        settings={"student_temperature": 0.5, "teacher_temperature": 0.3},
        module=lambda **settings: QueueKL(5, size=7, **settings),
        call=call_queue,
        label="soft",
    ),
]
