"""Planted faults of loaders, labels, padding and vocabularies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from benchmarks.planted import material as m
from benchmarks.planted.case import Case
from benchmarks.planted.healthy import Shifting

RENAMED = torch.randperm(m.CHAIN, generator=torch.Generator().manual_seed(3))
"""Another tokenizer's number of each token."""


class Sorted(IterableDataset[Any]):
    """A stream that gives one class after the other."""

    def __iter__(self) -> Any:
        images, labels, _, _ = m.pictures()
        return iter([(images[place], labels[place]) for place in labels.argsort(stable=True)])


class Padded(Dataset[Any]):
    """Texts padded by the dataset itself, the mask forgotten."""

    def __len__(self) -> int:
        return 600

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        tokens, _ = m.texts()[place]
        ids = torch.zeros(m.LENGTH, dtype=torch.int64)
        ids[: len(tokens)] = torch.tensor(tokens)
        return ids, ids % 3


def one_loader(name: str, loader: Any, **changes: Any) -> dict[str, Any]:
    return m.picture_recipe(**{name: loader, **changes})


def split_with_replacement(folder: Path) -> dict[str, Any]:
    """The validation indices are drawn from all, not from the rest."""
    images, labels, _, _ = m.pictures()
    data = TensorDataset(images, labels)
    drawn = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))[:200].tolist()
    return m.picture_recipe(train_loader=DataLoader(data, 64, shuffle=True),
                            val_loaders={"test": DataLoader(Subset(data, drawn), 100)})  # fmt: skip


def merged_files(folder: Path) -> dict[str, Any]:
    """A tenth of the test file was copied into the training file."""
    images, labels, test, truth = m.pictures()
    train = TensorDataset(torch.cat([test[:250], images[:700]]), torch.cat([truth[:250], labels[:700]]))
    return m.picture_recipe(train_loader=DataLoader(train, 64, shuffle=True))


def repeated_texts(folder: Path) -> dict[str, Any]:
    return m.text_recipe(val_loaders={"test": DataLoader(m.texts()[:300], 100, collate_fn=m.padded)})


def relabelled(change: Any) -> dict[str, Any]:
    return {**m.picture_recipe(), **m.loaders(labels=change)}


def as_if_mask(change: Any, tags: bool, rows: Any) -> dict[str, Tensor]:
    batch = m.padded(rows, tags=tags)
    return {**batch, "attention_mask": change(batch["attention_mask"])}


def masked(change: Any, tags: bool = False) -> dict[str, Any]:
    make = m.tag_recipe if tags else m.text_recipe
    return {**make(), **m.text_loaders(partial(as_if_mask, change, tags))}


def counted_padding(rows: Any) -> dict[str, Tensor]:
    """Tags with the tag of the padding token where -100 should stand, and no mask."""
    batch = m.tagged(rows)
    return {"input_ids": batch["input_ids"], "labels": batch["input_ids"] % 3}


def padded_by_the_dataset(folder: Path) -> dict[str, Any]:
    loader = DataLoader(Padded(), 32, shuffle=True)
    return m.tag_recipe(train_loader=loader, val_loaders={"test": DataLoader(Padded(), 100)},
                        teacher=m.tag_recipe()["teacher"])  # fmt: skip


def same(ids: Tensor) -> Tensor:
    return ids


def shifted_for_one_that_shifts(folder: Path) -> dict[str, Any]:
    def collate(rows: list[Tensor]) -> dict[str, Tensor]:
        ids = torch.stack(rows)
        labels = m.shifted(ids)
        return {"input_ids": ids, "target_ids": labels, "attention_mask": torch.ones_like(ids), "labels": labels}

    objective = {"kd": {"loss": "forward_kl"}, "own": {"loss": "own", "student": "language"}}
    recipe = m.language_recipe(student=Shifting(m.Language(width=8)), objective=objective)
    return {**recipe, **m.language_loaders(change=collate), "teacher": Shifting(recipe["teacher"]), "val_loaders": None}


def other_words(folder: Path) -> dict[str, Any]:
    """The ids of the teacher's larger tokenizer go to a student with a smaller vocabulary."""
    return m.language_recipe(student=m.Language(width=8, vocabulary=16))


def two_texts(make: Any, rows: list[Tensor]) -> dict[str, Tensor]:
    ids = torch.stack(rows)
    theirs = make(ids)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": m.shifted(ids),
            "teacher_input_ids": theirs, "teacher_attention_mask": torch.ones_like(theirs)}  # fmt: skip


def two_tokenizers(make: Any) -> dict[str, Any]:
    loaders = m.language_loaders(change=partial(two_texts, make))
    return m.language_recipe(**loaders, adapter="two_tokenizers")


def renamed(ids: Tensor) -> Tensor:
    return RENAMED[ids]


def halved_length(ids: Tensor) -> Tensor:
    """Tokens that stand for two each."""
    return ids[:, ::2]


def wider(folder: Path) -> dict[str, Any]:
    """The teacher's vocabulary is padded to a multiple of 64, as those of checkpoints are."""
    small, large = m.language_teacher(), m.Language(vocabulary=64)
    with torch.no_grad():
        large.words.weight[: m.CHAIN] = small.words.weight
        large.head.weight[: m.CHAIN], large.head.bias[: m.CHAIN] = small.head.weight, small.head.bias
        large.head.bias[m.CHAIN :] = -9.0
    large.reader.load_state_dict(small.reader.state_dict())
    return m.language_recipe(teacher=large)


def larger(folder: Path) -> dict[str, Any]:
    return m.language_recipe(teacher=m.learnt_language_of(45))


def other_specials(folder: Path) -> dict[str, Any]:
    teacher = m.language_teacher(m.gpt2, 10)
    teacher.config.eos_token_id = 3
    teacher.config.bos_token_id = 3
    return m.language_recipe(teacher=teacher, student=m.gpt2(16, 1))


def with_nan(images: Tensor) -> Tensor:
    """A pixel that is always 0 was divided by its deviation."""
    return (images - images.mean(dim=0)) / images.std(dim=0)


def logarithm(images: Tensor) -> Tensor:
    return images.log()


def plain_subset(name: str, count: int, size: int, **settings: Any) -> dict[str, Any]:
    _, _, test, truth = m.pictures()
    return m.picture_recipe(
        val_loaders={name: DataLoader(TensorDataset(test[:count], truth[:count]), size, **settings)}
    )


FAULTS_OF_DATA = (
    Case("loader that does not shuffle", lambda folder: {**m.picture_recipe(), **m.loaders(shuffle=False)},
         "shuffling"),
    Case("loader that does not shuffle, language", lambda folder: m.language_recipe(train_loader=DataLoader(
        list(m.sentences()), 32, collate_fn=partial(m.as_dict, m.shifted))), "shuffling"),
    Case("stream sorted by label", lambda folder: one_loader("train_loader", DataLoader(Sorted(), 64)), "shuffling"),
    Case("validation drawn from all", split_with_replacement, "duplicates"),
    Case("test file inside the training file", merged_files, "duplicates"),
    Case("validation texts are training texts", repeated_texts, "duplicates"),
    Case("validation is the train loader", lambda folder: one_loader(
        "val_loaders", {"test": m.loaders()["train_loader"]}), "duplicates"),
    Case("empty validation", lambda folder: plain_subset("test", 0, 100), "validation_loader"),
    Case("validation smaller than a batch, drop_last", lambda folder: plain_subset("test", 60, 64, drop_last=True),
         "validation_loader"),
    Case("drop_last in validation", lambda folder: plain_subset("test", 500, 64, drop_last=True), "validation_loader"),
    Case("labels from 1", lambda folder: relabelled(lambda labels: labels + 1), "label_range"),
    Case("labels from 1, texts", lambda folder: {**m.text_recipe(), **m.text_loaders(
        lambda rows: {**m.padded(rows), "labels": m.padded(rows)["labels"] + 1})}, "label_range"),
    Case("-1 for unlabelled", lambda folder: relabelled(
        lambda labels: labels.masked_fill(torch.arange(len(labels)) % 3 == 0, -1)), "label_range"),
    Case("labels as shares", lambda folder: relabelled(lambda labels: labels / 9), "label_range"),
    Case("tags of padding beyond the classes", lambda folder: {**m.tag_recipe(), **m.text_loaders(
        lambda rows: {**m.tagged(rows), "labels": m.tagged(rows)["labels"].masked_fill(
            m.tagged(rows)["attention_mask"] == 0, 7)})}, "label_range"),
    Case("mask of ones, texts", lambda folder: masked(torch.ones_like), "padding_mask"),
    Case("mask of ones, tags", lambda folder: masked(torch.ones_like, True), "padding_mask"),
    Case("mask turned round", lambda folder: masked(lambda mask: 1 - mask), "padding_mask"),
    Case("padding is labelled and counted", lambda folder: {**m.tag_recipe(), **m.text_loaders(counted_padding)},
         "padding_mask"),
    Case("padding by the dataset, no mask", padded_by_the_dataset, "padding_mask"),
    Case("frames padded with zeros, no mask", lambda folder: m.frame_recipe(masked=False), "padding_mask"),
    Case("labels not shifted", lambda folder: {**m.language_recipe(), **m.language_loaders(same)}, "shifted_labels"),
    Case("labels not shifted, GPT-2", lambda folder: {**m.language_recipe(
        teacher=m.language_teacher(m.gpt2, 10), student=m.gpt2(16, 1)), **m.language_loaders(same)}, "shifted_labels"),
    Case("labels shifted twice", shifted_for_one_that_shifts, "shifted_labels"),
    Case("token ids beyond the student's vocabulary", other_words, "vocabulary"),
    Case("vocabulary in another order", lambda folder: two_tokenizers(renamed), "vocabulary"),
    Case("another tokenizer", lambda folder: two_tokenizers(halved_length), "vocabulary"),
    Case("vocabulary with padding rows", wider, "vocabulary"),
    Case("vocabulary of another size", larger, "vocabulary"),
    Case("other special tokens", other_specials, "vocabulary"),
    Case("NaN in the pictures", lambda folder: {**m.picture_recipe(), **m.loaders(with_nan)}, "finite"),
    Case("infinity in the pictures", lambda folder: {**m.picture_recipe(), **m.loaders(logarithm)}, "finite"),
)  # fmt: skip
