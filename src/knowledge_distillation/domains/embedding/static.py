"""Static embeddings: a vector for each token, and the mean of a text's tokens; no transformer is run any more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from knowledge_distillation.domains.embedding.encoders import SentenceEncoder, sentence_encoder
from knowledge_distillation.domains.embedding.encoding import embedded
from knowledge_distillation.domains.embedding.folders import WEIGHTS, parts_of, static_weights, write_parts
from knowledge_distillation.domains.embedding.heads import Normalize
from knowledge_distillation.domains.embedding.settings import warn_of_prompt, write_settings
from knowledge_distillation.domains.tokenizers import load_tokenizer, mark_of
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.inputs import check_positive


class StaticEmbedding(nn.Module):
    """The mean of the vectors of a text's tokens, at unit length.

    Tokens that a tokenizer adds to each text do not count: sentence-transformers reads such models without.

    Args:
        table: float32 [tokens, dimensions].
        special: ids of tokens that do not count.
        source: folder or hub id of the tokenizer.
    """

    special: Tensor

    def __init__(self, table: Tensor, special: Sequence[int], *, source: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(table), table.shape[1], _weight=table.clone())
        self.head = Normalize()
        self.register_buffer("special", torch.tensor(sorted(special), dtype=torch.int64), persistent=False)
        self.source = source

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask, int64 [texts, tokens], to embeddings of unit length, float [texts, dimensions]."""
        counted = attention_mask.bool() & (input_ids[..., None] != self.special).all(dim=-1)
        shares = counted.to(self.embedding.weight.dtype)
        # the length of a sum is that of a mean but for a factor, which unit length takes out
        embeddings: Tensor = self.head(torch.bmm(shares[:, None], self.embedding(input_ids))[:, 0])
        return embeddings

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that sentence-transformers loads as its StaticEmbedding, with the tokenizer.

        Prompts and similarity are those of the folder that it came from.

        Raises:
            ConfigError: if the tokenizer is not to be had any more.
        """
        home = Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        load_tokenizer(self.source).save_pretrained(home)
        save_file({"embedding.weight": self.embedding.weight.detach().contiguous()}, home / WEIGHTS)
        write_parts(home, "StaticEmbedding", [self.head], self.embedding.embedding_dim)
        write_settings(home, self.source)


def static_embedding(
    path: str,
    *,
    dimensions: int | None = None,
    sif: float = 1e-3,
    tokenizer_mark: int = 0,
    training_rows: Sequence[Sequence[int]] = (),
) -> nn.Module:
    """Static embeddings out of an embedding model in seconds, without training; or such a model from its folder.

    Every token goes through the model by itself. The mean over the tokens is taken from their vectors, and each is
    weighed by a / (a + p), p its share of the tokens of the training texts, so that frequent words count less.

    Args:
        path: a local folder, or an id of the Hugging Face hub: an embedding model as of `sentence_encoder`, or static
            embeddings, which are loaded as they are: every token counts that the tokenizer does not add itself.
        dimensions: as of `sentence_encoder`; a teacher with the same gives vectors in the same axes. None for none.
        sif: a, above 0; smaller weighs frequent words down more.
        tokenizer_mark: as of `sentence_encoder`.
        training_rows: token ids of training texts, from the data.

    Raises:
        ConfigError: as of `sentence_encoder`; also if there is no training text, `sif` is not above 0, or a dense layer
            stands behind static embeddings.

    Reference: Tulkens, van Dongen (2024), model2vec; weights of Arora, Liang, Ma (2017), A Simple but Tough-to-Beat
        Baseline for Sentence Embeddings, ICLR.

    Differs: model2vec leaves out p and takes each token's rank in the vocabulary for its frequency (Zipf). Here it is
        counted, and axes are those of the model's embeddings of texts, so that teacher and student share them.
    """
    check_positive("sif", sif)
    tokenizer = load_tokenizer(path)
    (kind, folder), *heads = parts_of(path)
    if kind == "StaticEmbedding":
        if any(head == "Dense" for head, _ in heads):
            raise ConfigError(
                f"Behind the static embeddings {path!r} stands a dense layer, which is not run here: without it the "
                "vectors would be others. Multiply the table by it, and save that as the StaticEmbedding."
            )
        if tokenizer_mark and mark_of(tokenizer) != tokenizer_mark:
            raise ConfigError(
                f"The tokenizer that lies beside the static embeddings {path!r} is another one than the data's: the "
                "same ids mean other words to them, and nothing would show it. Name it as data.tokenizer."
            )
        warn_of_prompt(path)
        return StaticEmbedding(static_weights(path, folder), _added(tokenizer), source=path)
    if not training_rows:
        raise ConfigError(
            "Static embeddings weigh each token by how often it occurs, and there is no training text to count in. "
            "Use the data set 'sentences', or pass training_rows."
        )
    special = list(tokenizer.all_special_ids)
    model = sentence_encoder(path, dimensions=dimensions, tokenizer_mark=tokenizer_mark, training_rows=training_rows)
    vectors = _of_tokens(model, tokenizer)
    shares = frequencies(training_rows, len(vectors), special)
    table = (vectors - vectors.mean(dim=0)) * (sif / (sif + shares))[:, None]
    table[special] = 0.0
    return StaticEmbedding(table, special, source=path)


def frequencies(rows: Sequence[Sequence[int]], tokens: int, special: Sequence[int]) -> Tensor:
    """The share of each token among all tokens of texts but special ones, float32 [tokens]."""
    counts = torch.zeros(tokens, dtype=torch.int64)
    for begin in range(0, len(rows), 10_000):
        ids = torch.tensor([token for row in rows[begin : begin + 10_000] for token in row])
        counts += torch.bincount(ids, minlength=tokens)
    counts[list(special)] = 0
    return (counts.double() / counts.sum().clamp(min=1)).float()


def _added(tokenizer: Any) -> list[int]:
    """Ids that the tokenizer puts around a text."""
    found = tokenizer("a", return_special_tokens_mask=True)
    return sorted({at for at, own in zip(found["input_ids"], found["special_tokens_mask"], strict=True) if own})


def _of_tokens(model: Any, tokenizer: Any) -> Tensor:
    """What the model says of each token by itself, between the special tokens of a text; float32 [tokens, width]."""
    encoder: SentenceEncoder = model
    pattern = tokenizer("a", return_special_tokens_mask=True)
    ids, special = list(pattern["input_ids"]), list(pattern["special_tokens_mask"])
    before, behind = ids[: special.index(0)], ids[len(ids) - special[::-1].index(0) :]
    rows_of_table = int(encoder.encoder.get_input_embeddings().num_embeddings)  # type: ignore[operator]
    return embedded(model, [[*before, token, *behind] for token in range(rows_of_table)], batch_size=512)
