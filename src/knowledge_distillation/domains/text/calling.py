"""How encoders are called: segments reach only models that have them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.capture.adapters import IGNORED, auto
from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.domains.rows import SEGMENTS
from knowledge_distillation.signals import Signals


def encoder(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """As the adapter "auto"; the batch's "token_type_ids" go only to a model that tells segments apart.

    BERT does; DistilBERT takes none, RoBERTa has a single one. Teacher and student may differ.

    Args:
        model: of Transformers, or any that takes the entries of the batch by keyword.
        batch: a mapping with "input_ids" and "attention_mask" [texts, tokens], and "labels".
        temperature: accepted for the adapter's signature; not used.

    Raises:
        ModelContractError: as of `auto`.
    """
    if isinstance(batch, Mapping) and SEGMENTS in batch and not _has_segments(model):
        batch = {name: entry for name, entry in batch.items() if name != SEGMENTS}
    return auto(model, batch, temperature)


def tagger(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """As `encoder`, of tokens: the mask is True where a label stands, at the first token of each word.

    Args:
        model, temperature: as of `encoder`.
        batch: as of `encoder`, with "labels" [texts, tokens], -100 where none stands.
    """
    said = encoder(model, batch, temperature)
    return replace(said, mask=said.labels != IGNORED) if isinstance(said.labels, Tensor) else said


def _has_segments(model: nn.Module) -> bool:
    inner = unwrap(model)
    parameters = inspect.signature(inner.forward).parameters
    takes = SEGMENTS in parameters or any(entry.kind is entry.VAR_KEYWORD for entry in parameters.values())
    config = getattr(inner, "config", None)
    if config is None:  # an exported file picks what it needs
        return takes
    encoder = getattr(inner, "base_model", inner)  # what a head hands on, its encoder may not know
    kinds = getattr(config, "type_vocab_size", 2)
    return takes and SEGMENTS in inspect.signature(encoder.forward).parameters and isinstance(kinds, int) and kinds > 1
