"""Speech small enough for tests: recordings that are tones or real prompts, and random CTC models."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("jiwer")
transformers = pytest.importorskip("transformers")
speech = pytest.importorskip("knowledge_distillation.domains.speech")

PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
TRANSCRIPTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
KINDS = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WINDOW = 210
"""Samples of the first frame of `model`; the hop is wav2vec 2.0's."""
WORDS = ("GOOD DAY", "HELLO", "PLEASE PRESS ONE", "THANK YOU", "GOODBYE", "WRONG NUMBER")


def model(kind: str = "wav2vec2", layers: int = 4, seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    config, make = (getattr(transformers, KINDS[kind] + part) for part in ("Config", "ForCTC"))
    plan = {
        "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2,
        "intermediate_size": 24, "conv_dim": (8, 8, 8), "conv_kernel": (10, 3, 3), "conv_stride": (20, 4, 4),
        "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "feat_extract_norm": "layer",
        "do_stable_layer_norm": True, "pad_token_id": 0, "hidden_dropout": 0.0, "attention_dropout": 0.0,
        "activation_dropout": 0.0, "feat_proj_dropout": 0.0, "final_dropout": 0.0, "initializer_range": 0.5,
    }  # fmt: skip
    return make(config(**{**plan, **settings})).eval()


def saved(folder: Path, whole: Any) -> str:
    """A folder with a model and its characters, as Transformers writes them."""
    whole.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(dict(speech.load_characters().ids)))
    return str(folder)


def tone(pitch: float, seconds: float, rate: int = 16_000) -> np.ndarray[Any, Any]:
    return 0.3 * np.sin(2 * math.pi * pitch * np.arange(round(seconds * rate)) / rate)


def write(file: Path, signal: Any, rate: int = 16_000) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(file), signal, rate)
    return file


def chapter(folder: Path, texts: Mapping[str, str]) -> None:
    """A chapter in LibriSpeech's layout, a tone for each text."""
    for number, name in enumerate(texts):
        write(folder / f"{name}.flac", tone(200 + 70 * number, 0.6 + 0.1 * (number % 3)))
    (folder / f"{folder.parent.name}-{folder.name}.trans.txt").write_text(
        "".join(f"{name} {text}\n" for name, text in texts.items())
    )


def librispeech(root: Path, train: int = 6, validation: int = 3) -> str:
    """The folder of two splits, of tones."""
    for split, count, speaker in (("train-clean-100", train, 19), ("dev-clean", validation, 84)):
        names = {f"{speaker}-1-{number:04d}": WORDS[number % len(WORDS)] for number in range(count)}
        chapter(root / split / str(speaker) / "1", names)
    return str(root)


def prompts(root: Path, count: int) -> str:
    """A table of real telephone prompts, one speaker at 8 kHz, of Debian's asterisk-core-sounds-en-wav."""
    lines = gzip.decompress(TRANSCRIPTS.read_bytes()).decode("utf-8", errors="replace").splitlines()
    pairs = [line.split(":", 1) for line in lines if ":" in line and not line.startswith(";")]
    found = [(PROMPTS / f"{name.strip()}.wav", text.strip().rstrip(".")) for name, text in pairs]
    fit = [(file, text) for file, text in found if file.is_file() and set(text.lower()) <= {" ", *LETTERS}]
    file = root / "prompts.tsv"
    file.write_text("path\ttext\n" + "".join(f"{path}\t{text}\n" for path, text in fit[:count]))
    return str(file)


def whisper(folder: Path, layers: int = 4, **settings: Any) -> str:
    """A folder with a random Whisper that hears three seconds."""
    torch.manual_seed(0)
    plan = {
        "d_model": 16, "encoder_layers": layers, "decoder_layers": layers, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_source_positions": 150,
        "max_target_positions": 24, "num_mel_bins": 80, "vocab_size": 64, "pad_token_id": 1, "bos_token_id": 1,
        "eos_token_id": 1, "decoder_start_token_id": 0, "suppress_tokens": [], "begin_suppress_tokens": [],
        "init_std": 0.2,
    }  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**{**plan, **settings}))
    model.save_pretrained(folder)
    return str(folder)


def table(root: Path, rows: int, name: str = "table") -> str:
    """A table of tones and texts."""
    lines = [
        f"{write(root / name / f'{number}.wav', tone(200 + 50 * number, 0.8 + 0.1 * (number % 3)))}\t{WORDS[number % 6]}"
        for number in range(rows)
    ]
    file = root / f"{name}.tsv"
    file.write_text("\n".join(["path\ttext", *lines]))
    return str(file)
