"""The data set of embeddings: texts to be taught on, and pairs of texts to be compared on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.embedding.agreement import mixed_pairs, random_pairs
from knowledge_distillation.domains.embedding.encoders import sentence_encoder
from knowledge_distillation.domains.embedding.encoding import embedded
from knowledge_distillation.domains.embedding.pipelines import PairPipeline
from knowledge_distillation.domains.embedding.rows import Ids, PaddedPairs, PairRows, TextRows
from knowledge_distillation.domains.embedding.texts import read_pairs, read_texts
from knowledge_distillation.domains.lengths import SimilarLengths
from knowledge_distillation.domains.reading import held_out
from knowledge_distillation.domains.rows import Padded, TooLong, encoded, padding_of
from knowledge_distillation.domains.tokenizers import load_tokenizer, mark_of, tokens_of
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
RANDOM, MIXED = "random", "mixed"


def sentences(
    *,
    path: str,
    tokenizer: str,
    text: str | int = "text",
    validation: float | str = 0.02,
    teacher: str | None = None,
    pairs: int = 1000,
    scored: Mapping[str, Any] | None = None,
    retrieval: Mapping[str, Any] | None = None,
    first: str | int = "sentence1",
    second: str | int = "sentence2",
    score: str | int = "score",
    length: int = 128,
    too_long: TooLong = "cut",
    batch_size: int = 128,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Texts without labels, in batches of like length; scored by how alike the teacher finds held-out texts.

    The validation loaders "random" and "mixed" hold pairs of held-out texts, any two, or half of them near each other
    to the teacher, with the teacher's cosine: their score is Spearman's rank correlation with it.

    Args:
        path: of the training texts, a file or a folder: lines of a text file, or records of .tsv, .csv and .jsonl.
        tokenizer: local folder or hub id.
        text: the column or key of the text; the column's number from 0 in a file without a header.
        validation: a share of the training texts, or a file or folder of others.
        teacher: local folder or hub id of the embedding model whose cosines are the scores of held-out pairs; None for
            the one at `tokenizer`.
        pairs: of held-out texts in each of the two loaders; 0 for neither, then texts are not held out.
        scored: name -> file of pairs with a score by people: .tsv, .csv or .jsonl. Spearman's correlation with it.
        retrieval: name -> file of questions and answers, without a score: recall at 10.
        first, second, score: columns or keys of those files.
        length: tokens of a text at most.
        too_long: "cut" drops the end of longer texts, and the log says of how many; "refuse" raises.
        batch_size: texts a training batch.
        seed: chooses what is held out and paired.
        workers: of the loaders.

    Raises:
        ConfigError: if files are missing or of another form, at least half of their lines hold no text, nothing is left
            to validate on, the teacher reads other tokens or fewer than `length`, or an argument is out of its range.
    """
    check_whole("pairs", pairs, 0)
    check_whole("batch_size", batch_size, 1, "texts")
    own = load_tokenizer(tokenizer)
    texts = read_texts(Path(path), text)
    held: list[str] = []
    if pairs and isinstance(validation, str):
        held = read_texts(Path(validation), text)
    elif pairs:
        kept, out = held_out(len(texts), float(validation), seed)
        texts, held = [texts[at] for at in kept], [texts[at] for at in out]
    parts: dict[str, PairRows] = {}
    if pairs:
        rows = _ids(own, held, length, too_long, "validation")
        vectors = _asked(teacher or tokenizer, rows, vocabulary=tokens_of(own), length=length, mark=mark_of(own))
        parts |= _compared(rows, vectors, pairs, seed)
    files = {**{name: (file, score) for name, file in (scored or {}).items()},
             **{name: (file, None) for name, file in (retrieval or {}).items()}}  # fmt: skip
    for name, (file, number) in files.items():
        found = read_pairs(Path(str(file)), first, second, number)
        rows = _ids(own, [text for pair in found for text in (pair.first, pair.second)], length, too_long, name)
        scores = None if number is None else torch.tensor([pair.score for pair in found], dtype=torch.float32)
        parts[name] = PairRows(rows, torch.arange(len(rows)).reshape(-1, 2), scores)
    if not parts:
        raise ConfigError(
            "There must be pairs to validate on: set pairs above 0, or name files as scored or retrieval."
        )
    training = _ids(own, texts, length, too_long, "train")
    padding = padding_of(own)
    order = SimilarLengths([len(row) for row in training], batch_size)
    return Data(
        train=DataLoader(TextRows(training), batch_size, sampler=order, num_workers=workers,
                         collate_fn=Padded(padding)),
        validation={
            name: DataLoader(part, batch_size=max(1, batch_size // 2), num_workers=workers,
                             collate_fn=PaddedPairs(padding))
            for name, part in parts.items()
        },
        facts={
            "vocabulary": tokens_of(own),
            "length": length,
            "tokenizer_mark": mark_of(own),
            "training_rows": training,
        },
        pipeline=PairPipeline(),
    )  # fmt: skip


def _ids(tokenizer: Any, texts: Sequence[str], length: int, too_long: TooLong, where: str) -> list[Ids]:
    return [found.ids for found in encoded(tokenizer, texts, None, length, too_long, where)]


def _asked(teacher: str, rows: Sequence[Ids], *, vocabulary: int, length: int, mark: int) -> Tensor:
    """The teacher's vectors of texts at unit length, float32 [texts, dimensions]."""
    if len(rows) < 2:
        raise ConfigError(
            f"To compare texts there must be at least 2 held out, and there is {len(rows)}. Hold out more."
        )
    logger.info("asking %s about %d held-out texts", teacher, len(rows))
    model = sentence_encoder(teacher, vocabulary=vocabulary, length=length, tokenizer_mark=mark)
    return F.normalize(embedded(model, rows), dim=-1)


def _compared(rows: Sequence[Ids], vectors: Tensor, pairs: int, seed: int) -> dict[str, PairRows]:
    def alike(chosen: Tensor) -> PairRows:
        return PairRows(rows, chosen, (vectors[chosen[:, 0]] * vectors[chosen[:, 1]]).sum(dim=1))

    return {RANDOM: alike(random_pairs(len(rows), pairs, seed)), MIXED: alike(mixed_pairs(vectors, pairs, seed))}
