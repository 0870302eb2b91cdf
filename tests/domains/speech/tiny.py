"""Speech small enough for tests: recordings that are tones or real prompts, and random CTC models."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("jiwer")
tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
speech = pytest.importorskip("knowledge_distillation.domains.speech")

REAL = Path(__file__).parent / "recordings"
"""Twelve prompts of Debian's asterisk-core-sounds-en, 8 kHz, by Allison Smith; CC-BY-SA 3.0."""
KINDS = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
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


def spoken(root: Path, train: int = 8) -> str:
    """The folder of two splits, of the real recordings."""
    texts = sorted(line.split(" ", 1) for line in (REAL / "transcripts.txt").read_text().splitlines())
    for split, part in (("train-clean-100", texts[:train]), ("dev-clean", texts[train:])):
        folder = root / split / "1" / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "1-1.trans.txt").write_text("".join(f"{name} {text}\n" for name, text in part))
        for name, _ in part:
            shutil.copy(REAL / f"{name}.flac", folder)
    return str(root)


def whisper(folder: Path, layers: int = 4, **settings: Any) -> str:
    """A folder with a random Whisper that hears three seconds, and its tokenizer: a token a byte."""
    words = letters_tokenizer()
    start, end = (words.convert_tokens_to_ids(f"<|{name}|>") for name in ("startoftranscript", "endoftext"))
    torch.manual_seed(0)
    plan = {
        "d_model": 16, "encoder_layers": layers, "decoder_layers": layers, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_source_positions": 150,
        "max_target_positions": 24, "num_mel_bins": 80, "vocab_size": len(words), "pad_token_id": end,
        "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": start, "suppress_tokens": [],
        "begin_suppress_tokens": [], "init_std": 0.2,
    }  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**{**plan, **settings}))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def letters_tokenizer() -> Any:
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.models.BPE({sign: number for number, sign in enumerate(alphabet)}, [])
    words = tokenizers.Tokenizer(model)
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = tokenizers.decoders.ByteLevel()
    names = [f"<|{name}|>" for name in ("endoftext", "startoftranscript", "en", "transcribe", "notimestamps")]
    words.add_special_tokens(names)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token=names[0], pad_token=names[0])


def table(root: Path, rows: int, name: str = "table") -> str:
    """A table of tones and texts."""
    lines = [
        f"{write(root / name / f'{number}.wav', tone(200 + 50 * number, 0.8 + number % 3 / 10))}\t{WORDS[number % 6]}"
        for number in range(rows)
    ]
    file = root / f"{name}.tsv"
    file.write_text("\n".join(["path\ttext", *lines]))
    return str(file)


def recordings(root: Path, rows: int) -> str:
    """A table of real recordings of one speaker that lie beside the tests, the first ones over again."""
    found = sorted(REAL.glob("*.flac"))
    texts = dict(line.split(" ", 1) for line in (REAL / "transcripts.txt").read_text().splitlines())
    lines = [f"{file}\t{texts[file.stem]}" for file in (found * rows)[:rows]]
    file = root / "recordings.tsv"
    file.write_text("\n".join(["path\ttext", *lines]))
    return str(file)


def texts_of(root: Path) -> list[str]:
    return [line.split("\t")[1] for line in (root / "recordings.tsv").read_text().splitlines()[1:]]
