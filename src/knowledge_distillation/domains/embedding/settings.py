"""What the folder of an embedding model says beside its parts: its length, prompts, similarity and lower case."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowledge_distillation.domains.embedding.files import json_in, write_json

logger = logging.getLogger(__name__)
LENGTH = "sentence_bert_config.json"
USE = "config_sentence_transformers.json"


def longest_text(place: str, tokenizer: Any) -> int | None:
    """Tokens to which the model's makers cut texts; None where they do not say."""
    said = _said(place, LENGTH).get("max_seq_length") or tokenizer.model_max_length
    return int(said) if isinstance(said, int) and said < 10**9 else None  # a tokenizer without says 10**30


def warn_of_prompt(place: str) -> None:
    """Say in the log if sentence-transformers puts a prompt before every text, because texts here are read without."""
    said = _said(place, USE)
    name = said.get("default_prompt_name")
    prompt = (said.get("prompts") or {}).get(name)
    if prompt:
        logger.warning(
            "sentence-transformers puts the prompt %r (%r) of %r before every text, and texts here are read as they "
            "stand: in use the vectors are of other texts than in training. Write the prompt before the texts of the "
            "data, and take default_prompt_name out of %s of what is saved; or leave it if the texts need none.",
            name, prompt, place, USE,
        )  # fmt: skip


def write_settings(folder: Path, source: str, length: int | None = None) -> None:
    """How sentence-transformers uses the model: as it used the one that this came from.

    Args:
        folder: that exists.
        source: folder or hub id of that one; what it does not say is what sentence-transformers takes by itself.
        length: tokens of a text that the model reads; None for a static embedding, which reads all.
    """
    use, reading = _said(source, USE), _said(source, LENGTH)
    kept = {"prompts": use.get("prompts") or {}, "default_prompt_name": use.get("default_prompt_name")}
    write_json(folder / USE, {"similarity_fn_name": use.get("similarity_fn_name") or "cosine", **kept})
    if length is not None:
        lower = bool(reading.get("do_lower_case", False))
        write_json(folder / LENGTH, {"max_seq_length": length, "do_lower_case": lower})


def _said(place: str, name: str) -> Mapping[str, Any]:
    said = json_in(place, name)
    return said if isinstance(said, Mapping) else {}
