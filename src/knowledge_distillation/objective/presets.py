"""Objectives by name, one for each published method, with the weights of its paper or of its authors' code.

Where a method works inside the models, its layers are named by role ("@stages", "@last", "@middle", "@embedding")
and looked up in the models themselves before training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses import (
    AT,
    DKD,
    FSP,
    KD,
    NKD,
    PKT,
    CrossEntropy,
    LogitStandardization,
    Loss,
    catalogue,
    patient,
)
from knowledge_distillation.objective.objective import Objective
from knowledge_distillation.objective.schedules import warm_up
from knowledge_distillation.objective.term import Term, named_loss

Terms = dict[str, Term]


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


def lskd() -> Terms:
    """KD on standardised logits, arXiv:2403.01427: 0.1 CE + 9 KD at temperature 2."""
    return {"cross_entropy": Term(CrossEntropy(), weight=0.1), "lskd": Term(LogitStandardization(KD(2.0)), weight=9.0)}


def at_kd() -> Terms:
    """Attention transfer together with Hinton's KD: 1000 AT + 0.9 KD + 0.1 CE."""
    return {"at": Term(AT(distance="mean_squared"), 1000.0, "@stages", "@stages"), **hinton()}


def fsp_squared() -> Terms:
    """Flow between layers (FSP, CVPR 2017): CE + 50 FSP with the public code's average pooling and mean."""
    return {
        "cross_entropy": Term(CrossEntropy()),
        "fsp": Term(FSP(pooling="average", elements="mean"), 50.0, "@stages", "@stages"),
    }


def beside_labels(name: str, weight: float, place: str, projector: str | None = None, **settings: Any) -> Terms:
    """CE + weight x one loss between the layers that play a role."""
    loss = named_loss(name, settings)
    return {"cross_entropy": Term(CrossEntropy()), name: Term(loss, weight, place, place, projector)}


def patient_skip(student_states: Sequence[Tensor], teacher_states: Sequence[Tensor]) -> Tensor:
    """PKD-Skip, arXiv:1908.09355: every student layer but the last with every k-th of the teacher.

    Args:
        student_states: the embedding output and M layers, [N, L, width] each. Receives gradient.
        teacher_states: the embedding output and K layers, K at least M, same shapes.
    """
    deep, shallow = len(teacher_states) - 1, len(student_states) - 1
    chosen = range(1, max(2, shallow))
    taught = [teacher_states[number * deep // shallow] for number in chosen]
    return patient([student_states[number] for number in chosen], taught)


def mixed(name: str, soft_weight: float, hard_weight: float, **settings: Any) -> Terms:
    """hard_weight x CE + soft_weight x one loss on the logits."""
    return {
        "cross_entropy": Term(CrossEntropy(), weight=hard_weight),
        name: Term(named_loss(name, settings), weight=soft_weight),
    }


def tokens(name: str, **settings: Any) -> Terms:
    """One divergence on the token logits, alone."""
    return {name: Term(named_loss(name, settings))}


HIDDEN = ("hidden_states", "attentions")
PRESETS: Mapping[str, Callable[[], Terms]] = {
    "kd": hinton,
    "soft": soft,
    "labels": labels,
    "dkd": dkd,
    "lskd": lskd,
    "dist": partial(mixed, "dist", 2.0, 1.0),
    "nkd": lambda: {"cross_entropy": Term(CrossEntropy()), "nkd": Term(NKD())},
    "mlkd": partial(mixed, "mlkd", 0.9, 0.1),
    "ctkd": partial(mixed, "ctkd", 0.9, 0.1),
    "wsld": partial(mixed, "wsld", 2.25, 1.0),
    "spherical": partial(mixed, "spherical", 0.9, 0.1),
    "tf_kd": partial(mixed, "tf_kd", 0.1, 0.9),
    "fitnets": partial(beside_labels, "hint", 100.0, "@middle", "auto"),
    "at": partial(beside_labels, "at", 1000.0, "@stages", distance="mean_squared"),
    "at_kd": at_kd,
    "nst": partial(beside_labels, "nst", 50.0, "@stages"),
    "fsp": fsp_squared,
    "mgd": partial(beside_labels, "mgd", 7e-5, "@last"),
    "reviewkd": partial(beside_labels, "reviewkd", 1.0, "@stages"),
    "semckd": partial(beside_labels, "semckd", 400.0, "@stages"),
    "vid": partial(beside_labels, "vid", 1.0, "@last"),
    "kdsvd": partial(beside_labels, "kdsvd", 1.0, "@stages"),
    "rkd": partial(beside_labels, "rkd", 1.0, "@embedding"),
    "sp": partial(beside_labels, "sp", 3000.0, "@last"),
    "cc": partial(beside_labels, "cc", 0.02, "@embedding"),
    "pkt": lambda: {
        "cross_entropy": Term(CrossEntropy()),
        "pkt": Term(PKT("code"), 30000.0, "@embedding", "@embedding"),
    },
    "ickd": partial(beside_labels, "ickd", 2.5, "@last", "auto", normalization="cifar"),
    "crd": partial(beside_labels, "crd", 0.8, "@embedding"),
    "tinybert": lambda: {"tinybert": Term("tinybert", 1.0, HIDDEN, HIDDEN)},
    "patient": lambda: {**hinton(0.5, 5.0), "patient": Term(patient_skip, 100.0, "hidden_states", "hidden_states")},
    "gkd": partial(tokens, "generalized_jsd", beta=0.5),
    "distillm": partial(tokens, "skew_forward_kl", skew=0.1),
    "minillm": partial(tokens, "reverse_kl"),
}


def as_objective(objective: Objective | Mapping[str, Any] | Term | Loss | str) -> Objective:
    """An `Objective` from a preset's name, a loss's name, a loss, a term, or named terms.

    Args:
        objective: a mapping may hold "balance": "gradient_norm" or "uncertainty" beside its terms.

    Raises:
        ConfigError: if the name is neither a preset nor a loss, or the value has another type.
    """
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str):
        if objective in PRESETS:
            return Objective(PRESETS[objective]())
        if objective in catalogue():
            return Objective({objective: objective})
        raise ConfigError(
            f"There is no objective or loss named {objective!r}. {nearest(objective, [*PRESETS, *catalogue()])}"
        )
    if isinstance(objective, Mapping):
        terms = dict(objective)
        balance = terms.pop("balance", None)
        return Objective(terms, balance=balance)
    if isinstance(objective, (Term, Loss)):
        return Objective({"distillation": objective})
    raise ConfigError(
        f"objective must be a name, a dict of terms, a Term, a Loss or an Objective; got {type(objective).__name__}."
    )
