"""What a Whisper model takes: features of recordings, and texts with the prompt of its kind."""

from __future__ import annotations

from typing import Any

from knowledge_distillation.domains.pretrained import load_pretrained
from knowledge_distillation.domains.speech.dictation import Script
from knowledge_distillation.domains.speech.log_mel import HOP, RATE
from knowledge_distillation.domains.tokenizers import load_tokenizer
from knowledge_distillation.errors import ConfigError

MANY_LANGUAGES = 51_865
"""Tokens of the first Whisper of many languages; those of English alone have one fewer."""


def load_inputs(model: str, language: str | None) -> tuple[Any, Any, Script]:
    """The features that a Whisper model hears, as of its positions, its tokenizer, and how texts stand in its decoder.

    Args:
        model: folder or hub id.
        language: as Whisper names it, such as "de"; None for a model that knows English alone.

    Raises:
        ConfigError: if there is no such model, it is none of Whisper's, it knows many languages and none is named, or
            one is named and it knows English alone, or not this one.
        MissingExtraError: if Transformers is not installed.
    """
    config = load_pretrained("AutoConfig", model, "Whisper model", extra="speech")
    if getattr(config, "model_type", "") != "whisper":
        raise ConfigError(f"data.model must be a Whisper model, and {model!r} is of the kind {config.model_type!r}.")
    _check_language(model, config, language)
    from transformers import WhisperFeatureExtractor

    seconds = config.max_source_positions * 2 * HOP // RATE
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds)  # type: ignore[no-untyped-call]
    tokenizer = load_tokenizer(model)
    return extractor, tokenizer, Script.of(tokenizer, int(config.max_target_positions), language)


def _check_language(model: str, config: Any, language: str | None) -> None:
    many = _knows_many(model, config)
    if many and not language:
        raise ConfigError(
            f"{model!r} knows many languages, so that one must be named: without it the decoder gets a prompt that it "
            "never had, and writes down another language or a translation. Set language, as Whisper writes it: en, de, "
            "zh."
        )
    if language and not many:
        raise ConfigError(
            f"{model!r} knows English alone, so that no language can be named, and {language!r} is: the decoder would "
            "get a prompt that it never had. Leave language out, or name a model of many languages."
        )


def _knows_many(model: str, config: Any) -> bool:
    """What lies beside the model says, else the size of its vocabulary."""
    try:
        said = load_pretrained("GenerationConfig", model, "Whisper model", extra="speech")
    except ConfigError:  # none lies there
        said = None
    many = getattr(said, "is_multilingual", None)
    return bool(config.vocab_size >= MANY_LANGUAGES if many is None else many)
