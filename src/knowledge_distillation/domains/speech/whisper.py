"""Whisper models of Transformers with their weights, by local folder or hub id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from knowledge_distillation.domains.pretrained import load_pretrained
from knowledge_distillation.domains.tokenizers import load_tokenizer, mark_of
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.students import keep_layers


def load_whisper(kind: str, path: str, **settings: Any) -> Any:
    """A Whisper model, as a class of Transformers loads it; weights are read from safetensors only.

    Args:
        kind: "WhisperModel" or "WhisperForConditionalGeneration".
        path: a local folder, or an id of the Hugging Face hub.
        settings: of `from_pretrained`.

    Raises:
        ConfigError: if there is no such model, or it is none of Whisper's.
        MissingExtraError: if Transformers is not installed.
    """
    model, loading = load_pretrained(kind, path, "Whisper model", extra="speech", output_loading_info=True, **settings)
    absent = sorted(name for name in loading["missing_keys"] if "proj_out" not in name)
    if absent:
        raise ConfigError(
            f"{path!r} must hold all weights of a Whisper model, and {len(absent)} such as {absent[0]!r} are missing: "
            "they would be random. It is another model's folder."
        )
    return model


def whisper(
    path: str,
    *,
    decoder_layers: int | None = None,
    encoder_layers: int | None = None,
    rule: str | Sequence[int] = "spread",
    frozen_encoder: bool = False,
    tokens_mark: int = 0,
) -> nn.Module:
    """A whole Whisper model with its weights, for the data set "dictation".

    Args:
        path: a local folder of Transformers' Whisper, or an id of the Hugging Face hub.
        decoder_layers: to keep; None keeps all. Distil-Whisper keeps the first and the last: 2 by the rule "spread".
        encoder_layers: to keep; None keeps all, as Distil-Whisper does.
        rule: which; see `students.kept_indices`.
        frozen_encoder: leave the encoder as it is, as Distil-Whisper does: it hears what the teacher hears.
        tokens_mark: of the data's tokenizer; 0 looks at nothing.

    Raises:
        ConfigError: if there is no such model, the layers do not fit, or the tokenizer is another model's.
        MissingExtraError: if Transformers is not installed.

    Reference: Gandhi, von Platen, Rush (2023), Distil-Whisper, arXiv:2311.00430.
    """
    model: Any = load_whisper("WhisperForConditionalGeneration", path)
    if tokens_mark and mark_of(load_tokenizer(path)) != tokens_mark:
        raise ConfigError(
            f"The data's tokenizer must be that of {path!r}, and is another one: its ids mean other words to this "
            "model. Set data.model to this folder or hub id."
        )
    for part, count in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        if count is not None:
            model = keep_layers(model, count, rule, stack=f"model.{part}.layers")
    model.train().requires_grad_(True)
    model.model.encoder.embed_positions.requires_grad_(False)  # sines
    if frozen_encoder:
        model.model.encoder.requires_grad_(False)
    return model  # type: ignore[no-any-return]
