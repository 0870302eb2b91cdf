"""Batches that hold each text twice, as the tokens of the student and as those of the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.capture.adapters.auto import IGNORED, auto
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import Signals

TEACHER = "teacher_"


def student_tokens(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """`auto` on a batch of two tokenizers: a dict, of which the entries without "teacher_" are the student's.

    Args:
        model: as for `auto`.
        batch: with "labels" of shape [samples, tokens] and -100 outside the answer, only answers count, as they do
            for the teacher: the n-th token of the student's answer meets the n-th of the teacher's.
        temperature: as for `auto`.

    Raises:
        ModelContractError: if the batch is no dict with entries for both sides.
    """
    return _of_one_tokenizer(model, batch, temperature, is_teacher=False)


def teacher_tokens(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """`auto` on a batch of two tokenizers: the teacher's entries, "teacher_input_ids" as its "input_ids".

    Args:
        model: as for `auto`.
        batch: as for `student_tokens`; "teacher_labels" mark the teacher's answer.
        temperature: as for `auto`.

    Raises:
        ModelContractError: if the batch is no dict with entries for both sides.
    """
    return _of_one_tokenizer(model, batch, temperature, is_teacher=True)


def _of_one_tokenizer(model: nn.Module, batch: Any, temperature: float, *, is_teacher: bool) -> Signals:
    names = [str(key) for key in batch] if isinstance(batch, Mapping) else []
    if not any(name.startswith(TEACHER) for name in names) or all(name.startswith(TEACHER) for name in names):
        raise ModelContractError(
            "A batch of two tokenizers must be a dict with the student's entries (input_ids, attention_mask, labels) "
            f"and the same for the teacher with 'teacher_' in front; got {names or type(batch).__name__}. One side's "
            "ids would mean other words to the other model. Tokenize each text with both tokenizers."
        )
    own = {key: value for key, value in batch.items() if str(key).startswith(TEACHER) == is_teacher}
    signals = auto(model, {str(key).removeprefix(TEACHER): value for key, value in own.items()}, temperature)
    if signals.logits is None or not isinstance(signals.labels, Tensor):
        return signals
    if signals.labels.shape != signals.logits.shape[:-1]:
        return signals
    answer = signals.labels != IGNORED
    return replace(signals, mask=answer if signals.mask is None else answer & signals.mask)
