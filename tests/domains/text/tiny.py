"""Encoders and a tokenizer small enough for tests, made in place; and real text, this project's own pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import WordPieceTrainer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

PAGES = Path(__file__).parents[3] / "docs"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "max_position_embeddings": 64}


def paragraphs(page: str) -> list[str]:
    """The paragraphs of a page, each on one line."""
    found = (PAGES / f"{page}.md").read_text(encoding="utf-8").split("\n\n")
    return [" ".join(text.split()) for text in found if len(text.split()) > 8 and not text.startswith(("```", "|"))]


def pieces(texts: Sequence[str], size: int = 400, special: Sequence[str] = SPECIAL) -> Any:
    """A WordPiece tokenizer as BERT's, learnt from these texts."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, WordPieceTrainer(vocab_size=size, special_tokens=list(special), show_progress=False)
    )
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in names.items() if token in special}
    )


def bytes_tokenizer(kind: Any, **settings: Any) -> Any:
    """A tokenizer as RoBERTa's and GPT-2's, which has the space within the token: a token a byte."""
    names = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    ids = {sign: number for number, sign in enumerate([*names.values(), *pre_tokenizers.ByteLevel.alphabet()])}
    given = {f"{name}_token": token for name, token in names.items()}
    if kind is not PreTrainedTokenizerFast:
        return kind(vocab=ids, merges=[], **settings)
    tokenizer = Tokenizer(BPE(ids, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return kind(tokenizer_object=tokenizer, **given)


def bert(vocabulary: int, kind: Any = BertModel, layers: int = 4, seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    given = {**SIZES, "num_hidden_layers": layers, "initializer_range": 0.2, **settings}
    return kind(BertConfig(vocab_size=vocabulary, **given)).eval()


def distilbert(vocabulary: int, classes: int = 2) -> Any:
    torch.manual_seed(1)
    config = DistilBertConfig(
        vocab_size=vocabulary, dim=32, hidden_dim=48, n_heads=4, n_layers=1, max_position_embeddings=64,
        num_labels=classes,
    )  # fmt: skip
    return DistilBertForSequenceClassification(config).eval()


def roberta(vocabulary: int) -> Any:
    torch.manual_seed(1)
    config = RobertaConfig(vocab_size=vocabulary, num_hidden_layers=2, type_vocab_size=1, pad_token_id=1, **SIZES)
    return RobertaForSequenceClassification(config).eval()


def saved(folder: Path, model: Any = None, tokenizer: Any = None) -> str:
    """A folder with a model, a tokenizer, or both, as Transformers writes them."""
    if model is not None:
        model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return str(folder)


MASKED, CLASSIFIER = BertForMaskedLM, BertForSequenceClassification
