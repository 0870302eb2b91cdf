"""A student that teaches itself: what its deepest exit says teaches the shallow ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.signals import Signals


class SelfTeacher:
    """Hand the student's own signals back as the teacher's, without gradient.

    A term then compares two places of one model: {"loss": "kd", "student": "exit1", "teacher": "logits"} lets the last
    classifier teach the first. No second model runs, and no gradient of such a term reaches the deeper place.

    Args:
        deepest: the student's signal that stands as the teacher's "logits": "logits", or the module path of an exit.

    Raises:
        ConfigError: if `deepest` is no text.

    Reference: Zhang, Song, Gao, Chen, Bao, Ma (2019), Be Your Own Teacher, arXiv:1905.08094. Their objective for each
        shallow exit is (1 - alpha) * cross-entropy + alpha * KL to the deepest + lambda * a hint term between features.
    """

    def __init__(self, deepest: str = "logits") -> None:
        if not isinstance(deepest, str):
            raise ConfigError(f"deepest must be the name of a signal, such as 'logits' or 'exit3'; got {deepest!r}.")
        self.deepest = deepest

    @property
    def fingerprint(self) -> str:
        """Names the kind only: the answers are the student's, which changes with every step."""
        return f"self:{self.deepest}"

    def reads(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The wanted signals themselves, with the deepest exit in the place of "logits"."""
        return tuple(self.deepest if name == "logits" else name for name in wanted)

    def prepare(self, device: torch.device) -> None:
        """There is nothing to move."""

    def signals(self, batch: Any, wanted: Sequence[str] = ()) -> Signals:
        """Refuse: without the student's signals there is no answer.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "A SelfTeacher answers from the student's signals, so it cannot be cached or be in an ensemble. "
            "Train with distill or DistillationModule, which hand them over."
        )

    def from_student(self, student: Signals) -> Signals:
        """The student's signals, detached; "logits" is what `deepest` says.

        Raises:
            ConfigError: if the student has no signal of that name.
        """
        own = detached(student)
        return own if self.deepest == "logits" else replace(own, logits=own.named(self.deepest, whose="student"))

    def release(self) -> None:
        """There is nothing to undo."""


def detached(signals: Signals) -> Signals:
    """The same signals, every tensor without its graph; own loss terms are left out."""
    return Signals(
        logits=_detached(signals.logits),
        log_probs=_detached(signals.log_probs),
        features=map_leaves(signals.features, _detached),
        mask=signals.mask,
        feature_mask=signals.feature_mask,
        labels=signals.labels,
    )


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf
