"""Golden vectors of the losses on embeddings and relevance scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from knowledge_distillation.losses.embeddings.margin_mse import margin_mse
from knowledge_distillation.losses.logits.kd import kd

if TYPE_CHECKING:
    from tests.oracles.golden import Entry


def dot_scores(entry: Entry, names: list[str]) -> Tensor:
    """The query's dot product with each named candidate, shape [queries, candidates]."""
    return torch.stack([(entry.tensors["query"] * entry.tensors[name]).sum(dim=-1) for name in names], dim=-1)


def numbered(entry: Entry, prefix: str) -> list[str]:
    return sorted(
        (name for name in entry.tensors if name.startswith(prefix)), key=lambda name: int(name[len(prefix) :])
    )


def margins(entry: Entry) -> Tensor:
    return margin_mse(dot_scores(entry, ["pos", *numbered(entry, "neg")]), entry.tensors["teacher_scores"])


def candidate_scores(entry: Entry) -> Tensor:
    """Two temperatures: the teacher's scores are brought to the student's, which also gives the squared factor."""
    student_temperature = entry.hyperparameters["student_temperature"]
    teacher_scores = entry.tensors["teacher_scores"] * (
        student_temperature / entry.hyperparameters["teacher_temperature"]
    )
    return kd(dot_scores(entry, numbered(entry, "cand")), teacher_scores, temperature=student_temperature)


RUNNERS = {
    "margin_mse__sentence_transformers": margins,
    "distill_kl_scores__sentence_transformers": candidate_scores,
}
