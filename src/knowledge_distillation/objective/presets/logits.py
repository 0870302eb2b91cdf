"""Presets for what classifiers answer: distillation of logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses import (
    DKD,
    KD,
    NKD,
    BinaryKL,
    BoundedRegression,
    CrossEntropy,
    LogitStandardization,
    reversal_at,
)
from knowledge_distillation.objective.presets.building import Preset, Terms, alone, mixed
from knowledge_distillation.objective.schedules import warm_up
from knowledge_distillation.objective.term import Term


def hinton(alpha: float = 0.9, temperature: float = 4.0) -> Terms:
    """Hinton, Vinyals, Dean (2015), arXiv:1503.02531: alpha of the soft term, 1 - alpha of the labels."""
    return {"kd": Term(KD(temperature), weight=alpha), "cross_entropy": Term(CrossEntropy(), weight=1 - alpha)}


def soft() -> Terms:
    """The teacher alone, for data without labels: Hinton's soft term at temperature 4."""
    return {"kd": Term(KD(4.0))}


def labels() -> Terms:
    """The labels alone: the control that shows what the teacher is worth."""
    return {"cross_entropy": Term(CrossEntropy())}


def dkd() -> Terms:
    """Decoupled KD, arXiv:2203.08679: CE + (1 x target + 8 x non-target), raised over the first twelfth of training."""
    return {"cross_entropy": Term(CrossEntropy()), "dkd": Term(DKD(4.0), schedule=warm_up(share=1 / 12))}


def ctkd() -> Terms:
    """Curriculum temperature, arXiv:2211.16231: 0.1 CE + 0.9 CTKD, the reversal rising from 0 to 1.

    It rises along half a cosine over the first 24th of training, as in the authors' scripts: 10 of 240 epochs.
    """
    terms = mixed("ctkd", 0.9, 0.1)
    return {**terms, "ctkd": replace(terms["ctkd"], changes={"reversal": partial(reversal_at, epochs=1 / 24)})}


def lskd() -> Terms:
    """KD on standardised logits, arXiv:2403.01427: 0.1 CE + 9 KD at temperature 2."""
    return {"cross_entropy": Term(CrossEntropy(), weight=0.1), "lskd": Term(LogitStandardization(KD(2.0)), weight=9.0)}


def label_smoothing() -> Terms:
    """Label smoothing, arXiv:1906.02629: no teacher, 0.1 of each label spread over all classes."""
    return alone("label_smoothing_teacher", label_smoothing=0.1)


def logit_regression() -> Terms:
    """Ba, Caruana (2014), arXiv:1312.6184: the squared difference of the logits, and no labels."""
    return alone("logit_mse")


class OfTargets:
    """A supervised loss on labels of the logits' own shape, which the catalogue of distillation losses does not have.

    Args:
        kind: "binary", cross-entropy of independent yes-or-no labels, or "smooth_l1", for values.
    """

    needs: ClassVar[tuple[str, ...]] = ("labels",)
    uses_teacher: ClassVar[bool] = False
    losses: ClassVar[Mapping[str, Callable[..., Tensor]]] = {
        "binary": F.binary_cross_entropy_with_logits,
        "smooth_l1": F.smooth_l1_loss,
    }

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.__name__ = {"binary": "binary_cross_entropy", "smooth_l1": "smooth_l1"}[kind]

    def __call__(self, student: Tensor, teacher: Tensor, *, labels: Tensor) -> Tensor:
        if labels.shape != student.shape:
            raise ShapeError(
                f"labels must have the shape {tuple(student.shape)} of what the student answers, got "
                f"{tuple(labels.shape)}: they would be broadcast to other outputs. Give one label for every output."
            )
        return self.losses[self.kind](student, labels.to(student.dtype))


def multi_label() -> Terms:
    """Multi-label logits distillation, arXiv:2308.06453: BCE + 10 x KL of every yes-or-no, as in the authors' code.

    The paper adds distillation of label-wise embeddings, which only its own kind of model has.
    """
    return {"binary_cross_entropy": Term(OfTargets("binary")), "binary_kl": Term(BinaryKL(), weight=10.0)}


def bounded_regression() -> Terms:
    """Regression bounded by the teacher, NeurIPS 2017: smooth L1 on the true values + 0.5 x the bound, a start."""
    return {"smooth_l1": Term(OfTargets("smooth_l1")), "bounded_regression": Term(BoundedRegression(), weight=0.5)}


LOGITS: Mapping[str, Preset] = {
    "kd": hinton,
    "soft": soft,
    "labels": labels,
    "dkd": dkd,
    "lskd": lskd,
    "dist": partial(mixed, "dist", 2.0, 1.0),
    "nkd": lambda: {"cross_entropy": Term(CrossEntropy()), "nkd": Term(NKD())},
    "mlkd": partial(mixed, "mlkd", 0.9, 0.1),
    "ctkd": ctkd,
    "wsld": partial(mixed, "wsld", 2.5, 1.0),
    "spherical": partial(mixed, "spherical", 0.9, 0.1),
    "label_smoothing": label_smoothing,
    "tf_kd": partial(mixed, "tf_kd", 0.1, 0.9),
    "logit_regression": logit_regression,
    "multi_label": multi_label,
    "bounded_regression": bounded_regression,
}
