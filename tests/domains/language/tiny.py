"""Language models and tokenizers small enough for tests, made in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Split, Whitespace
from tokenizers.trainers import BpeTrainer, WordLevelTrainer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
LETTERS = [chr(code) for code in range(32, 127)] + ["\n"]


def letters(
    order: Sequence[str] = LETTERS, *, first: Sequence[str] = ("<end>", "<unk>"), gap: int = 0, **special: Any
) -> Any:
    """A tokenizer of one token a letter; `order` decides the ids, of which `gap` in the middle are no token's."""
    vocabulary = {token: place + gap * (place > 50) for place, token in enumerate([*first, *order])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    from tokenizers.decoders import Fuse

    tokenizer.decoder = Fuse()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>", **{"pad_token": "<end>", **special}
    )
    wrapped.chat_template = CHAT
    return wrapped


def pieces(texts: Sequence[str], size: int = 300) -> Any:
    """A byte-level BPE tokenizer, learnt from these texts."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    from tokenizers.decoders import ByteLevel as Decoder

    tokenizer.decoder = Decoder()
    trainer = BpeTrainer(
        vocab_size=size, special_tokens=["<end>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


def words(texts: Sequence[str]) -> Any:
    """A tokenizer of one token a word or sign of these texts, and one for all others."""
    tokenizer = Tokenizer(WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.train_from_iterator(texts, WordLevelTrainer(special_tokens=["<end>", "<unk>"], show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>", pad_token="<end>")


def llama(vocabulary: int = 97, layers: int = 2, seed: int = 0, **settings: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "eos_token_id": 0,
        "bos_token_id": None, "initializer_range": 0.3,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**config, **settings})).eval()


def gpt2(vocabulary: int = 97) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=128, eos_token_id=0, bos_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def mixtral(vocabulary: int = 97) -> MixtralForCausalLM:
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, output_router_logits=True, eos_token_id=0,
    )  # fmt: skip
    return MixtralForCausalLM(config).eval()


def saved(folder: Path, model: Any = None, tokenizer: Any = None) -> str:
    """A folder with a model, a tokenizer, or both, as Transformers writes them."""
    if model is not None:
        model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return str(folder)
