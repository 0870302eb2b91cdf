"""Text data sets for language models: files of running text, and records of prompts and completions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader, Dataset, Subset

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.language.alignment import span_rows
from knowledge_distillation.domains.language.blocks import Blocks
from knowledge_distillation.domains.language.generation import GenerationPipeline, exact_match, rouge
from knowledge_distillation.domains.language.packing import Packed
from knowledge_distillation.domains.language.pipelines import PerplexityPipeline
from knowledge_distillation.domains.language.reading import pieces_of, read_records
from knowledge_distillation.domains.language.rows import Pieces, Rows, encoded, padded, prompt_row
from knowledge_distillation.domains.language.vocabulary import Vocabulary, resolve
from knowledge_distillation.domains.readable import Passages, TokenTexts
from knowledge_distillation.domains.reading import held_out, texts_by_part
from knowledge_distillation.domains.tokenizers import (
    beginning_of,
    end_of_text,
    ids_of,
    load_tokenizer,
    mark_of,
)
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
SCORES: Mapping[str, Callable[[], Callable[[str, str], float]]] = {
    "exact_match": lambda: exact_match,
    "rouge": lambda: rouge("rougeL"),
}
"""What generated text is compared by."""


def text_files(
    *,
    path: str,
    tokenizer: str,
    train: str | list[str] = "*",
    validation: float | str | Mapping[str, Any] = 0.05,
    length: int = 512,
    documents: Literal["joined", "apart"] = "joined",
    batch_size: int = 8,
    gguf_file: str | None = None,
    teacher_tokenizer: str | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Running text, packed into rows of equal length; scored by perplexity.

    Args:
        path: of a text file, or of a folder of them.
        tokenizer: local folder or hub id.
        train: patterns of the names of training files.
        validation: a share of the rows; a pattern of the names of validation files; or several by name, such as
            {"val": "1999*", "test": "2*"}.
        length: tokens a row.
        documents: "joined": a file follows the other, with the token that ends a text between them. "apart": files in
            one row do not see each other either.
        batch_size: rows a batch.
        gguf_file: that holds the tokenizer, if it lies in one.
        teacher_tokenizer: where the teacher's is another one; it must split texts in the same way.
        seed: chooses the rows that are held out.
        workers: of the loaders.
    """
    vocabulary = _vocabulary(tokenizer, gguf_file, teacher_tokenizer)
    if vocabulary.kind == "foreign":
        raise ConfigError(
            f"{vocabulary.explanation} Rows of running text are cut by tokens, and would hold other text for the "
            "teacher than for the student. Use the data set 'jsonl'."
        )
    own = vocabulary.student
    begin, end = beginning_of(own), [end_of_text(own)]

    def packed(texts: Sequence[str]) -> Blocks:
        ids = (ids_of(own, text) for text in texts)
        return Blocks([begin + found + end for found in ids if found], length, apart=documents == "apart")

    if isinstance(validation, (int, float)):
        whole = packed(texts_by_part(Path(path), train, {})["train"])
        kept, held = held_out(len(whole), validation, seed)
        parts: dict[str, Dataset[Any]] = {"train": Subset(whole, kept), "validation": Subset(whole, held)}
    else:
        named = {"validation": validation} if isinstance(validation, str) else validation
        parts = {name: packed(texts) for name, texts in texts_by_part(Path(path), train, named).items()}
    return _data(parts, vocabulary, length, batch_size, workers, None)


def jsonl(
    *,
    path: str,
    tokenizer: str,
    validation: float | str = 0.05,
    length: int = 512,
    packed: bool = False,
    batch_size: int = 8,
    score: Literal["perplexity", "exact_match", "rouge"] = "perplexity",
    new_tokens: int = 64,
    gguf_file: str | None = None,
    teacher_tokenizer: str | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Records, one a line: "prompt" and "completion", chat "messages", or "text"; a row each, padded batch by batch.

    Completions, and what an assistant says, are learnt; the rest is read. Longer records are cut at their end.

    Args:
        path: of the JSONL file.
        tokenizer: local folder or hub id; for "messages" with a chat template.
        validation: a share of the records, or the path of another file.
        length: tokens a row at most.
        packed: whether several records share a row for training, as many as `length` takes; none sees another, and the
            loss of every token stays what it is.
        batch_size: rows a batch.
        score: "perplexity" of what is learnt, or what the student generates greedily compared with the completion:
            "exact_match", or "rouge" (ROUGE-L, extra `rouge`).
        new_tokens: to generate at most.
        gguf_file: that holds the tokenizer, if it lies in one.
        teacher_tokenizer: where the teacher's is another one; then the batches hold its tokens as well.
        seed: chooses the records that are held out.
        workers: of the loaders.

    Raises:
        ConfigError: if a file cannot be read, nothing is left to learn, or rows are to be packed for two tokenizers
            that split texts in different ways.
    """
    check_whole("length", length, 2, "tokens")
    vocabulary = _vocabulary(tokenizer, gguf_file, teacher_tokenizer)
    if packed and vocabulary.kind == "foreign":
        raise ConfigError(
            f"{vocabulary.explanation} A packed row holds as many texts as fit by the student's tokens, and the "
            "teacher's would not fit with them. Leave `packed` out."
        )

    def rows(records: Sequence[Mapping[str, Any]]) -> Rows:
        return Rows(_row(vocabulary, record, length) for record in records)

    given = read_records(Path(path))
    if isinstance(validation, str):
        taught, scored = rows(given), rows(read_records(Path(validation)))
    else:
        kept, held = held_out(len(given), validation, seed)
        taught, scored = rows([given[at] for at in kept]), rows([given[at] for at in held])
    parts = {"train": Packed(taught, length) if packed else taught, "validation": scored}
    pipeline = None
    if score != "perplexity":
        pipeline = GenerationPipeline(vocabulary.student, SCORES[score](), new_tokens=new_tokens)
    return _data(parts, vocabulary, length, batch_size, workers, pipeline)


def prompts(
    *,
    path: str,
    tokenizer: str,
    validation: str,
    length: int = 512,
    batch_size: int = 8,
    gguf_file: str | None = None,
    workers: int = 0,
) -> Data:
    """Prompts without completions, for on-policy training: the callback "on_policy" lets the student write those.

    Args:
        path: of a JSONL file whose records have "prompt", or chat "messages" that end before the answer.
        tokenizer: local folder or hub id; for "messages" with a chat template.
        validation: path of a JSONL file as of `jsonl`, whose completions the student is scored on.
        length: tokens a prompt at most; longer ones are left out.
        batch_size: prompts a batch.
        gguf_file: that holds the tokenizer, if it lies in one.
        workers: of the loaders.
    """
    check_whole("length", length, 1, "tokens")
    vocabulary = _vocabulary(tokenizer, gguf_file, None)
    own = vocabulary.student
    asked = Rows(prompt_row(own, record, length) for record in read_records(Path(path), answered=False))
    scored = Rows(_row(vocabulary, record, length) for record in read_records(Path(validation)))
    return _data({"train": asked, "validation": scored}, vocabulary, length, batch_size, workers, None)


def _row(vocabulary: Vocabulary, record: Mapping[str, Any], length: int) -> dict[str, Any] | None:
    own, whole = vocabulary.student, "messages" in record
    pieces = pieces_of(own, record)
    row = encoded(own, pieces, length, whole=whole)
    if vocabulary.kind != "foreign" or row is None:
        return row
    their_pieces = pieces_of(vocabulary.teacher, record)
    theirs = encoded(vocabulary.teacher, their_pieces, length, whole=whole)
    if theirs is None:
        return None
    learnt = _learnt(pieces), _learnt(their_pieces)
    spans = span_rows(own, vocabulary.teacher, (row, theirs), learnt, ended=not whole)
    return {**row, **{f"teacher_{name}": ids for name, ids in theirs.items()}, **spans}


def _learnt(pieces: Pieces) -> list[str]:
    return [text for text, is_learnt in pieces if is_learnt]


def _vocabulary(tokenizer: str, gguf_file: str | None, teacher_tokenizer: str | None) -> Vocabulary:
    own = load_tokenizer(tokenizer, gguf_file)
    vocabulary = resolve(own, own if teacher_tokenizer is None else load_tokenizer(teacher_tokenizer))
    logger.info("%s", vocabulary.explanation)
    return vocabulary


def _data(
    parts: Mapping[str, Dataset[Any]],
    vocabulary: Vocabulary,
    length: int,
    batch_size: int,
    workers: int,
    pipeline: Any,
) -> Data:
    check_whole("batch_size", batch_size, 1, "rows")

    loaders = {
        name: DataLoader(rows, batch_size=batch_size, shuffle=name == "train", num_workers=workers, collate_fn=padded)
        for name, rows in parts.items()
    }
    adapters = vocabulary.adapters
    return Data(
        train=loaders.pop("train"),
        validation=loaders,
        facts={
            "vocabulary": vocabulary.tokens,
            "length": length,
            "tokenizer_mark": mark_of(vocabulary.student),
            "teacher_tokenizer_mark": mark_of(vocabulary.teacher),
        },
        class_names=TokenTexts(vocabulary.student),
        adapter=adapters,
        pipeline=pipeline or PerplexityPipeline(adapters),
        show=Passages(vocabulary.student),
    )
