"""A Whisper in CTranslate2's form, written by its published format: names, shapes and arrays."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

SPECIAL = ("endoftext", "startoftranscript", "notimestamps")


def tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens([f"<|{name}|>" for name in SPECIAL])
    return PreTrainedTokenizerFast(tokenizer_object=words)


def whisper(words: int) -> Any:
    end = words - len(SPECIAL)
    config = WhisperConfig(
        vocab_size=words, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=256, decoder_ffn_dim=256, decoder_start_token_id=end + 1,
        eos_token_id=end, bos_token_id=end, pad_token_id=end, init_std=0.2,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config)


def write(folder: Path, model: Any, words: PreTrainedTokenizerFast) -> None:
    folder.mkdir()
    words.save_pretrained(folder)
    arrays: dict[str, np.ndarray[Any, Any]] = {"encoder/num_heads": np.array(1, dtype=np.int16)}

    def put(name: str, *values: torch.Tensor) -> None:
        arrays[name] = torch.cat(values).detach().numpy().astype(np.float16)

    def norm(name: str, module: Any) -> None:
        put(f"{name}/gamma", module.weight)
        put(f"{name}/beta", module.bias)

    def linear(name: str, *modules: Any) -> None:
        put(f"{name}/weight", *(module.weight for module in modules))
        zeros = [torch.zeros(len(module.weight)) if module.bias is None else module.bias for module in modules]
        put(f"{name}/bias", *zeros)

    for part in ("encoder", "decoder"):
        whole = getattr(model.model, part)
        norm(f"{part}/layer_norm", whole.layer_norm)
        put(f"{part}/position_encodings/encodings", whole.embed_positions.weight)
        for number, layer in enumerate(whole.layers):
            place, own = f"{part}/layer_{number}", layer.self_attn
            norm(f"{place}/self_attention/layer_norm", layer.self_attn_layer_norm)
            linear(f"{place}/self_attention/linear_0", own.q_proj, own.k_proj, own.v_proj)
            linear(f"{place}/self_attention/linear_1", own.out_proj)
            norm(f"{place}/ffn/layer_norm", layer.final_layer_norm)
            linear(f"{place}/ffn/linear_0", layer.fc1)
            linear(f"{place}/ffn/linear_1", layer.fc2)
            if part == "decoder":
                other = layer.encoder_attn
                norm(f"{place}/attention/layer_norm", layer.encoder_attn_layer_norm)
                linear(f"{place}/attention/linear_0", other.q_proj)
                linear(f"{place}/attention/linear_1", other.k_proj, other.v_proj)
                linear(f"{place}/attention/linear_2", other.out_proj)
    for name in ("conv1", "conv2"):
        linear(f"encoder/{name}", getattr(model.model.encoder, name))
    put("decoder/embeddings/weight", model.model.decoder.embed_tokens.weight)
    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    kinds = {"float16": 4, "int16": 2}
    for name, array in arrays.items():
        content += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        content += struct.pack("<BI", kinds[array.dtype.name], array.nbytes) + array.tobytes()
    alias = text("decoder/projection/weight") + text("decoder/embeddings/weight")
    (folder / "model.bin").write_bytes(content + struct.pack("<I", 1) + alias)


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"
