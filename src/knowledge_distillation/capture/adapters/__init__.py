"""Adapters: call a model on a batch and turn whatever it returns into `Signals`."""

from __future__ import annotations

from collections.abc import Mapping

from knowledge_distillation.capture.adapters.auto import IGNORED, LABEL_KEYS, SIDE_KEYS, Adapter, auto, split_batch
from knowledge_distillation.capture.adapters.causal_lm import causal_student, causal_teacher, next_tokens
from knowledge_distillation.capture.adapters.normalised import check_normalised
from knowledge_distillation.capture.adapters.original import GIVEN_PROB, original_student, original_teacher
from knowledge_distillation.capture.adapters.response_pairs import response_pairs
from knowledge_distillation.capture.adapters.two_tokenizers import student_tokens, teacher_tokens
from knowledge_distillation.errors import ConfigError, nearest

ADAPTERS: Mapping[str, tuple[Adapter, Adapter]] = {
    "auto": (auto, auto),
    "causal_lm": (causal_student, causal_teacher),
    "original": (original_student, original_teacher),
    "two_tokenizers": (student_tokens, teacher_tokens),
    "response_pairs": (response_pairs, response_pairs),
}


def adapter_pair(adapter: str | Adapter | tuple[Adapter, Adapter]) -> tuple[Adapter, Adapter]:
    """The student's and the teacher's adapter, from a name, one callable for both, or a pair.

    Raises:
        ConfigError: if the name is unknown or the value is not callable.
    """
    if isinstance(adapter, str):
        if adapter not in ADAPTERS:
            raise ConfigError(f"There is no adapter named {adapter!r}. {nearest(adapter, ADAPTERS)}")
        return ADAPTERS[adapter]
    pair = adapter if isinstance(adapter, tuple) else (adapter, adapter)
    if len(pair) != 2 or not all(map(callable, pair)):
        raise ConfigError(
            f"adapter must be a name, a callable (model, batch, temperature) -> Signals, or two; got {adapter!r}."
        )
    return pair


__all__ = [
    "ADAPTERS",
    "GIVEN_PROB",
    "IGNORED",
    "LABEL_KEYS",
    "SIDE_KEYS",
    "Adapter",
    "adapter_pair",
    "auto",
    "causal_student",
    "causal_teacher",
    "check_normalised",
    "next_tokens",
    "original_student",
    "original_teacher",
    "response_pairs",
    "split_batch",
    "student_tokens",
    "teacher_tokens",
]
