"""Signals: what one model says about one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

from knowledge_distillation.errors import ConfigError, nearest

EMPTY: Mapping[str, Any] = MappingProxyType({})


def _empty() -> Mapping[str, Any]:
    return EMPTY


OUTPUTS = ("logits", "log_probs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What a model says about one batch. Frozen; tensors keep their graph.

    Attributes:
        logits: unnormalised scores, classes on the last axis, shape [*batch, classes]; of a sparse teacher a
            `losses.TopK`, where the loss applies the head itself a `losses.Projected`.
        log_probs: log-probabilities at the temperature the adapter was given, same shape.
        features: what was read inside the model, by module path or by the adapter's own names.
        loss_terms: scalar losses that the model computed itself, by name.
        mask: True where an item counts, shape [*batch]; None counts all.
        feature_mask: where there is no mask, True at the tokens that count, shape [batch, tokens]: those of a text that
            gets one answer. Losses of the family "transformers" read it on hidden states and attention. None counts
            all.
        labels: class ids, shape [*batch].
        extras: further inputs of losses, by the name in `Facts.needs` (boxes, sample index, ...).
    """

    logits: Any = None
    log_probs: Tensor | None = None
    features: Mapping[str, Any] = field(default_factory=_empty)
    loss_terms: Mapping[str, Any] = field(default_factory=_empty)
    mask: Tensor | None = None
    feature_mask: Tensor | None = None
    labels: Tensor | None = None
    extras: Mapping[str, Any] = field(default_factory=_empty)

    def named(self, name: str, *, whose: str) -> Any:
        """The signal called `name`: "logits", "log_probs" or one of the features.

        Args:
            name: the signal's name.
            whose: "student" or "teacher", for the error message.

        Raises:
            ConfigError: if the model did not give that signal; lists what it gave.
        """
        value = getattr(self, name) if name in OUTPUTS else self.features.get(name)
        if value is None:
            given = [output for output in OUTPUTS if getattr(self, output) is not None]
            raise ConfigError(
                f"The {whose} gave no signal named {name!r}, so the term that compares it cannot be computed. "
                f"{nearest(name, [*given, *self.features])} Name a module path of the "
                f"{whose}, or let its adapter return it."
            )
        return value
