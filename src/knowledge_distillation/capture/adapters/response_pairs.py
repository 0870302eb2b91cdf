"""Batches of two responses to each prompt, for preference losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.capture.adapters.auto import IGNORED, auto
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.losses.sequences.dpkd import token_log_probs
from knowledge_distillation.signals import Signals


def response_pairs(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """Two responses to each prompt, for preference losses: "token_log_probs" of what stands in the text.

    Args:
        model: gives logits [rows, tokens, classes] for ids [rows, tokens].
        batch: a dict whose tensors are [pairs, 2, tokens], the teacher's response first: inputs, and "labels" with the
            token that each row of logits predicts, -100 outside the response.
        temperature: accepted for the adapter's signature; not used.

    Raises:
        ModelContractError: if the batch has another form or no labels.
    """
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    if not isinstance(labels, Tensor) or labels.dim() != 3 or labels.shape[1] != 2:
        found = tuple(labels.shape) if isinstance(labels, Tensor) else type(batch).__name__
        raise ModelContractError(
            "A batch of response pairs must be a dict with 'labels' [pairs, 2, tokens], the teacher's response first "
            f"and -100 outside the responses; got {found}. Without them nobody knows whose response is to be preferred."
        )
    rows = {key: value.flatten(0, 1) if isinstance(value, Tensor) else value for key, value in batch.items()}
    said = auto(model, rows, temperature)
    if said.logits is None or said.logits.shape[:-1] != rows["labels"].shape:
        raise ModelContractError(f"{type(model).__name__} must return logits for every token of a response pair.")
    counted = rows["labels"] != IGNORED
    chosen = token_log_probs(said.logits, rows["labels"].clamp(min=0), mask=counted)
    return Signals(
        logits=said.logits.reshape(*labels.shape, -1),
        features={"token_log_probs": chosen.reshape(labels.shape)},
        mask=counted.reshape(labels.shape),
        labels=labels,
    )
