"""An embedding model and a tokenizer small enough for tests, made in place; and real text, this project's own pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

PAGES = Path(__file__).parents[3] / "docs"
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
WIDTH = 32


def paragraphs(*pages: str) -> list[str]:
    """The paragraphs of pages, each on one line."""
    found = [text for page in pages for text in (PAGES / f"{page}.md").read_text(encoding="utf-8").split("\n\n")]
    kept = [" ".join(text.split()) for text in found if len(text.split()) > 8 and not text.startswith(("```", "|"))]
    return list(dict.fromkeys(kept))


def pieces(texts: list[str], size: int = 300) -> Any:
    """A WordPiece tokenizer as BERT's, learnt from these texts."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, WordPieceTrainer(vocab_size=size, special_tokens=[*SPECIAL.values()], show_progress=False)
    )
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in SPECIAL.items()}
    )


def bert(vocabulary: int, layers: int = 4, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return BertModel(
        BertConfig(
            vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=48, num_attention_heads=4,
            num_hidden_layers=layers, max_position_embeddings=64, initializer_range=0.2,
        )
    ).eval()  # fmt: skip


def saved(folder: Path, model: Any, tokenizer: Any, *parts: tuple[str, Any], length: int | None = 48) -> str:
    """A folder as sentence-transformers 2 wrote it, the parts behind the transformer by kind and config.json."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, (kind, config) in enumerate(parts, 1):
        place = f"{number}_{kind}"
        listed.append(
            {"idx": number, "name": str(number), "path": place, "type": f"sentence_transformers.models.{kind}"}
        )
        if config is not None:
            (folder / place).mkdir(parents=True)
            (folder / place / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(listed))
    if length is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    return str(folder)


def pooling(*modes: str) -> tuple[str, dict[str, Any]]:
    """The pooling of a folder, by the names of sentence-transformers 2."""
    known = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    return "Pooling", {"word_embedding_dimension": WIDTH, **{f"pooling_mode_{name}": name in modes for name in known}}
