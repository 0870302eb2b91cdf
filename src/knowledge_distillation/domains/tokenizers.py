"""Tokenizers by folder or hub id, and what data must know of them."""

from __future__ import annotations

import json
import zlib
from typing import Any

from knowledge_distillation.errors import ConfigError, MissingExtraError


def load_tokenizer(place: str, gguf_file: str | None = None) -> Any:
    """The tokenizer of a model, as Transformers' AutoTokenizer loads it; no code of a repository is run.

    Args:
        place: a local folder, or an id of the Hugging Face hub.
        gguf_file: a GGUF file in it that holds the tokenizer; None where it lies there as usual.

    Raises:
        ConfigError: if there is none.
        MissingExtraError: if Transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "Text needs Transformers: pip install 'knowledge-distillation-toolkit[text]'"
        ) from error
    settings = {} if gguf_file is None else {"gguf_file": gguf_file}
    try:
        return AutoTokenizer.from_pretrained(place, **settings)  # no code of the repository is run  # nosec B615
    except Exception as error:  # it fails in as many ways as there are files
        raise ConfigError(
            f"No tokenizer can be loaded from {place!r}: {type(error).__name__}: {str(error)[:300]} Name a local "
            "folder with a tokenizer, or an id of the Hugging Face hub."
        ) from error


def tokens_of(tokenizer: Any) -> int:
    """How many columns of logits a tokenizer gives a meaning: one more than its largest id."""
    return int(max(tokenizer.get_vocab().values())) + 1


def mark_of(tokenizer: Any) -> int:
    """A number that is equal for tokenizers of one vocabulary, and never 0."""
    return zlib.crc32(json.dumps(sorted(tokenizer.get_vocab().items())).encode()) or 1


def beginning_of(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text by itself: its bos id, or nothing."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and bos in tokenizer("")["input_ids"] else []


def end_of_text(tokenizer: Any) -> int:
    """The id that ends a text.

    Raises:
        ConfigError: if there is none.
    """
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            "The tokenizer must have an eos_token, which ends a text, and has none: texts would run into each other, "
            "and the student would never learn to stop. Set it (tokenizer.eos_token = ...) and save the tokenizer."
        )
    return int(tokenizer.eos_token_id)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """The ids of a piece of text, without special tokens around it."""
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found
