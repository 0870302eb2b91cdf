"""A Whisper model in CTranslate2's form as a folder that Transformers and this toolkit load.

faster-whisper and its kin keep Whisper as a folder with model.bin, config.json and tokenizer.json. model.bin is a flat
list of named arrays: nothing in it is run.

    python examples/whisper_from_ctranslate2.py CTRANSLATE2_FOLDER FOLDER
"""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
"""CTranslate2's numbers of them; bfloat16 (5) and packed integers are not read."""
HEAD_WIDTH = 64
"""Of every published Whisper."""
SAME = {
    "self_attention/layer_norm": "self_attn_layer_norm", "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm", "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj", "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1", "ffn/linear_1": "fc2",
}  # fmt: skip
"""Parts of a layer, CTranslate2's name -> Transformers'."""
FUSED = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
}
"""Several matrices under each other in one."""
LAST = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def read_arrays(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a model.bin of format version 4 to 6, by name.

    Raises:
        ValueError: if it is another version, of another model than Whisper, holds numbers of another kind, or ends
            before it should.
    """
    with file.open("rb") as source:
        (version,) = _numbers(source, "<I")
        kind = _text(source)
        if not 4 <= version <= 6 or kind != "WhisperSpec":
            raise ValueError(f"{file} must be a WhisperSpec of format 4 to 6, and is {kind!r} of format {version}.")
        _, count = _numbers(source, "<II")
        arrays = {}
        for _ in range(count):
            name = _text(source)
            (rank,) = _numbers(source, "<B")
            shape = _numbers(source, f"<{rank}I")
            dtype, size = _numbers(source, "<BI")
            if dtype not in DTYPES:
                raise ValueError(f"{file}: {name!r} must hold plain numbers, and its kind is {dtype}.")
            arrays[name] = np.frombuffer(_bytes(source, size), DTYPES[dtype]).reshape(shape)
    return arrays


def renamed(arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Tensor]:
    """The weights under Transformers' names, in float32.

    Raises:
        ValueError: if weights are rounded to integers.
    """
    rounded = [name for name, array in arrays.items() if array.dtype == np.int8 and array.ndim > 1]
    if rounded:
        raise ValueError(f"The weights must be float32 or float16, and {len(rounded)} such as {rounded[0]} are int8.")
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        place, _, last = rest.rpartition("/")
        value = torch.from_numpy(array.astype(np.float32))
        if place.startswith("layer_") and place != "layer_norm" and last in LAST:
            number, _, inner = place.removeprefix("layer_").partition("/")
            for target, piece in _pieces(inner, value):
                found[f"model.{part}.layers.{number}.{target}.{LAST[last]}"] = piece
        elif place in ("conv1", "conv2", "layer_norm"):
            found[f"model.{part}.{place}.{LAST[last]}"] = value
        elif rest == "position_encodings/encodings":
            found[f"model.{part}.embed_positions.weight"] = value
        elif rest == "embeddings/weight":
            found[f"model.{part}.embed_tokens.weight"] = found["proj_out.weight"] = value
    return {name: value for name, value in found.items() if not name.endswith("k_proj.bias")}  # zeros: there is none


def config_of(weights: dict[str, Tensor], tokenizer: PreTrainedTokenizerFast) -> WhisperConfig:
    """The model's sizes, read off its weights, and the special tokens by the tokenizer's names."""
    words, width = weights["model.decoder.embed_tokens.weight"].shape
    layers = {part: len({name.split(".")[3] for name in weights if f"{part}.layers." in name}) for part in PARTS}
    start, end = (tokenizer.get_vocab()[token] for token in ("<|startoftranscript|>", "<|endoftext|>"))
    return WhisperConfig(
        vocab_size=words, d_model=width, num_mel_bins=weights["model.encoder.conv1.weight"].shape[1],
        encoder_layers=layers["encoder"], decoder_layers=layers["decoder"],
        encoder_attention_heads=width // HEAD_WIDTH, decoder_attention_heads=width // HEAD_WIDTH,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
        decoder_start_token_id=start, eos_token_id=end, bos_token_id=end, pad_token_id=end,
    )  # fmt: skip


PARTS = ("encoder", "decoder")


def convert(source: Path, target: Path) -> None:
    """Write `source` in Transformers' form: config.json, model.safetensors, tokenizer.json, preprocessor_config.json.

    Raises:
        ValueError: as of `read_arrays` and `renamed`.
        RuntimeError: if a weight is missing or left over.
    """
    weights = renamed(read_arrays(source / "model.bin"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"), eos_token="<|endoftext|>")
    config = config_of(weights, tokenizer)
    model = WhisperForConditionalGeneration(config)
    model.load_state_dict(weights, strict=True)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    shutil.copy(source / "tokenizer.json", target / "tokenizer.json")


def _pieces(inner: str, value: Tensor) -> list[tuple[str, Tensor]]:
    targets = FUSED.get(inner, (SAME[inner],) if inner in SAME else ())
    return list(zip(targets, value.chunk(len(targets)), strict=True)) if targets else []


def _numbers(source: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, _bytes(source, struct.calcsize(form)))


def _text(source: BinaryIO) -> str:
    (length,) = _numbers(source, "<H")
    return _bytes(source, length).rstrip(b"\0").decode()


def _bytes(source: BinaryIO, size: int) -> bytes:
    content = source.read(size)
    if len(content) < size:
        raise ValueError(
            f"{source.name} must go on for {size} more bytes, and ends after {len(content)}: it is cut off."
        )
    return content


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{sys.argv[2]} holds the model in Transformers' form")
