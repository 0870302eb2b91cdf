"""Data sets of the text domain: labelled texts, tagged words, and running text with masked words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.labelling import keep_labels
from knowledge_distillation.domains.lengths import SimilarLengths
from knowledge_distillation.domains.readable import RowTexts
from knowledge_distillation.domains.reading import held_out, texts_by_part
from knowledge_distillation.domains.rows import Padded, Row, Rows, TooLong, encoded, padding_of, row_of
from knowledge_distillation.domains.text.calling import encoder, tagger
from knowledge_distillation.domains.text.classes import class_ids, class_names
from knowledge_distillation.domains.text.labelled import Fields, Labelled, read_labelled
from knowledge_distillation.domains.text.masking import Masked, blocks
from knowledge_distillation.domains.text.pipelines import MacroF1Pipeline, SpanF1Pipeline
from knowledge_distillation.domains.text.spans import are_span_tags
from knowledge_distillation.domains.text.tagged import Tagged, read_tagged
from knowledge_distillation.domains.text.tagging import reads_no_spaces, token_labels
from knowledge_distillation.domains.tokenizers import load_tokenizer, mark_of, tokens_of
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.inputs import check_between
from knowledge_distillation.training.pipelines import AccuracyPipeline, InferencePipeline

Validation = float | str | Mapping[str, str]
Read = TypeVar("Read")


def labelled_texts(
    *,
    path: str,
    tokenizer: str,
    validation: float | str | Mapping[str, Any] = 0.1,
    text: str | int = "text",
    second: str | int | None = None,
    label: str | int = "label",
    classes: list[str] | None = None,
    length: int = 128,
    too_long: TooLong = "cut",
    batch_size: int = 32,
    group_by_length: bool = False,
    labelled: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """One or two texts and a label each, as of GLUE, from TSV, CSV or JSONL; scored by accuracy.

    Args:
        path: of the training file. Lines that are no record are left out, and the log lists them.
        tokenizer: local folder or hub id.
        validation: a share of the training file; another file; or several by name.
        text: the column or key of the text; the column's number from 0 in a file without a header.
        second: of a second text that the first is compared with; None for none.
        label: of the class.
        classes: their names in the order of a trained model's outputs; None sorts those of the training file. Labels
            that are numbers below their count and no names count in this order, and the log says so.
        length: tokens a row at most.
        too_long: "cut" drops the end of longer texts, and the log says of how many; "refuse" raises.
        batch_size: texts a batch.
        group_by_length: whether the texts of a training batch are of similar length, which leaves less padding.
        labelled: how many training texts keep their label; the others get -100, and a teacher alone teaches them.
        seed: chooses what is held out, and what keeps its label.
        workers: of the loaders.

    Raises:
        ConfigError: if files are missing or of another form, at least half of their records cannot be used, a label of
            validation does not occur in training, or an argument is out of its range.
    """
    fields = Fields(text, second, label)
    own = load_tokenizer(tokenizer)
    parts = _parts(path, validation, seed, lambda file: read_labelled(file, fields))
    names = class_names((sample.label for sample in parts["train"]), classes, path)
    numbered = classes is not None
    rows = {name: _rows_of_texts(own, part, names, numbered, length, too_long, name) for name, part in parts.items()}
    kept = keep_labels(torch.tensor(rows["train"].labels), labelled, seed)
    rows["train"] = Rows(rows["train"].rows, kept.tolist())
    order = SimilarLengths(rows["train"].lengths, batch_size) if group_by_length else None
    return _data(rows, own, length, batch_size, workers, encoder, AccuracyPipeline(encoder), names, order)


def tagged_words(
    *,
    path: str,
    tokenizer: str,
    validation: float | str | Mapping[str, Any] = 0.1,
    words: str = "tokens",
    tags: str = "tags",
    columns: tuple[int, int] = (0, -1),
    classes: list[str] | None = None,
    length: int = 128,
    too_long: TooLong = "cut",
    batch_size: int = 32,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Sentences with a tag for each word, from a file in columns (CoNLL) or JSONL; scored by F1.

    It is F1 of spans where all tags are of BIO, IOBES or BILOU, such as O, B-PER and I-PER; else macro F1 of words. A
    word's tag stands at its first token; the others do not count.

    Args:
        path: of the training file. Sentences with a word that has no tag are left out, and the log lists them.
        tokenizer: local folder or hub id, of a fast tokenizer.
        validation: a share of the training file; another file; or several by name.
        words, tags: keys of both lists in a JSON object.
        columns: of the word and of the tag in a file in columns, from 0; from -1 backwards.
        classes: the tags in the order of a trained model's outputs; None sorts those of the training file. Numbers in
            the files are as of `labelled_texts`.
        length: tokens a row at most.
        too_long: "cut" drops the end of longer sentences, and the log says of how many; "refuse" raises.
        batch_size: sentences a batch.
        seed: chooses what is held out.
        workers: of the loaders.

    Raises:
        ConfigError: if files are missing or of another form, at least half of their records cannot be used, a label of
            validation does not occur in training, or an argument is out of its range.
    """
    own = load_tokenizer(tokenizer)
    places = (int(columns[0]), int(columns[1]))
    parts = _parts(path, validation, seed, lambda file: read_tagged(file, words=words, tags=tags, columns=places))
    names = class_names((tag for sentence in parts["train"] for tag in sentence.tags), classes, path)
    numbered = classes is not None
    rows = {name: _rows_of_words(own, part, names, numbered, length, too_long, name) for name, part in parts.items()}
    pipeline = SpanF1Pipeline(names, tagger) if are_span_tags(names) else MacroF1Pipeline(tagger)
    return _data(rows, own, length, batch_size, workers, (tagger, encoder), pipeline, names)


def masked_text(
    *,
    path: str,
    tokenizer: str,
    train: str | list[str] = "*",
    validation: float | str | Mapping[str, Any] = 0.05,
    length: int = 128,
    share: float = 0.15,
    copies: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Running text of which some tokens are hidden, to be guessed; scored by the share of them that are.

    Args:
        path: of a text file, or of a folder of them.
        tokenizer: local folder or hub id, with a mask token.
        train: patterns of the names of training files.
        validation: a share of the rows; a pattern of the names of validation files; or several by name.
        length: tokens a row at most; a row holds text of one file.
        share: of the tokens that are hidden.
        copies: a training row stands there so many times, each time with others hidden.
        batch_size: rows a batch.
        seed: chooses what is held out and what is hidden; every epoch hides the same.
        workers: of the loaders.

    Raises:
        ConfigError: if files are missing or hold no text, the tokenizer cannot hide tokens, or an argument is out of
            its range.
    """
    check_whole("length", length, 1, "tokens")
    check_whole("copies", copies)
    check_between("share", share, 0.0, 1.0)
    own = load_tokenizer(tokenizer)
    if isinstance(validation, (int, float)):
        whole = blocks(own, texts_by_part(Path(path), train, {})["train"], length)
        kept, held = held_out(len(whole), validation, seed)
        parts = {"train": [whole[at] for at in kept], "validation": [whole[at] for at in held]}
    else:
        named = {"validation": validation} if isinstance(validation, str) else validation
        files = texts_by_part(Path(path), train, named)
        parts = {name: blocks(own, texts, length) for name, texts in files.items()}
    empty = [name for name, rows in parts.items() if not rows]
    if empty:
        raise ConfigError(f"The files of {empty[0]!r} hold no word: there is nothing to guess. Name other files.")
    hidden = {
        name: Masked(rows, own, share=share, copies=copies if name == "train" else 1, seed=seed)
        for name, rows in parts.items()
    }
    return _data(hidden, own, length, batch_size, workers, encoder, AccuracyPipeline(encoder), ())


def _parts(path: str, validation: Any, seed: int, read: Callable[[Path], list[Read]]) -> dict[str, list[Read]]:
    """What a training file and the validation files hold; of a share, the training file in two."""
    given = read(Path(path))
    if isinstance(validation, (int, float)):
        kept, held = held_out(len(given), validation, seed)
        return {"train": [given[at] for at in kept], "validation": [given[at] for at in held]}
    named = {"validation": validation} if isinstance(validation, str) else validation
    if not named or "train" in named or not all(isinstance(file, str) for file in named.values()):
        raise ConfigError(
            f"validation must be a share, a file, or name -> file, none named 'train'; got {validation!r}."
        )
    return {"train": given, **{name: read(Path(file)) for name, file in named.items()}}


def _rows_of_texts(
    tokenizer: Any, samples: Sequence[Labelled], names: Sequence[str], numbered: bool, length: int, too_long: TooLong,
    where: str,
) -> Rows:  # fmt: skip
    labels = class_ids((sample.label for sample in samples), names, where, numbered=numbered)
    texts = [sample.text for sample in samples]
    seconds = [sample.second for sample in samples if sample.second is not None] or None
    return Rows([row_of(found) for found in encoded(tokenizer, texts, seconds, length, too_long, where)], labels)


def _rows_of_words(
    tokenizer: Any, sentences: Sequence[Tagged], names: Sequence[str], numbered: bool, length: int, too_long: TooLong,
    where: str,
) -> Rows:  # fmt: skip
    before = " " if reads_no_spaces(tokenizer) else ""
    texts = [[before + word for word in sentence.words] for sentence in sentences]
    found = encoded(tokenizer, texts, None, length, too_long, where, is_split_into_words=True)
    tags = iter(class_ids((tag for sentence in sentences for tag in sentence.tags), names, where, numbered=numbered))
    own = [list(islice(tags, len(sentence.tags))) for sentence in sentences]
    labels = [token_labels(row.word_ids, numbers) for row, numbers in zip(found, own, strict=True)]
    rows: list[Row] = [row_of(row) for row in found]
    return Rows(rows, labels)


def _data(
    parts: Mapping[str, Dataset[Any]],
    tokenizer: Any,
    length: int,
    batch_size: int,
    workers: int,
    adapter: Adapter | tuple[Adapter, Adapter],
    pipeline: InferencePipeline,
    names: Sequence[str],
    order: Sampler[int] | None = None,
) -> Data:
    check_whole("batch_size", batch_size, 1, "texts")
    settings: dict[str, Any] = {
        "batch_size": batch_size, "num_workers": workers, "collate_fn": Padded(padding_of(tokenizer))
    }  # fmt: skip
    ordered = {"shuffle": True} if order is None else {"sampler": order}
    loaders = {
        name: DataLoader(rows, **settings, **(ordered if name == "train" else {})) for name, rows in parts.items()
    }
    facts = {"vocabulary": tokens_of(tokenizer), "length": length, "tokenizer_mark": mark_of(tokenizer)}
    classes: dict[str, Any] = {"classes": len(names), "class_names": tuple(names)} if names else {}
    return Data(
        train=loaders.pop("train"),
        validation=loaders,
        facts={**facts, **classes},
        class_names=names,
        adapter=adapter,
        pipeline=pipeline,
        show=RowTexts(tokenizer),
    )
