"""Speech data sets: LibriSpeech's folders, and tables of recordings and transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import Subset, random_split

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.speech.characters import Characters, load_characters
from knowledge_distillation.domains.speech.error_rates import ErrorRatePipeline, check_unit
from knowledge_distillation.domains.speech.loading import Loading, extremes
from knowledge_distillation.domains.speech.screening import Sample, Wanted, screened
from knowledge_distillation.domains.speech.signals import CTCSignals
from knowledge_distillation.domains.speech.transcripts import Utterance, librispeech_split, manifest
from knowledge_distillation.domains.speech.utterances import Utterances
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.inputs import check_between

TRAIN = ("train-clean-100", "train-clean-360", "train-other-500")
SPLIT_SEED = 42
"""The original toolkit's, for dev-clean."""
WINDOW, HOP = 400, 320
"""Samples of the first frame and between frames of wav2vec 2.0, HuBERT and WavLM."""


def librispeech(
    *,
    path: str,
    train: Sequence[str] = TRAIN,
    validation: Sequence[str] | int | float = ("dev-clean",),
    characters: str | None = None,
    batch_size: int = 1,
    validation_batch_size: int = 1,
    rate: int = 16_000,
    window: int = WINDOW,
    hop: int = HOP,
    longest: float | None = None,
    unknown: Literal["skip", "remove"] = "skip",
    normalised: bool = True,
    speeds: Sequence[float] = (1.0,),
    alike: bool = False,
    unit: Literal["word", "character"] = "word",
    workers: int = 0,
) -> Data:
    """Read speech and its transcripts from folders in LibriSpeech's layout, scored by the word error rate.

    Recordings of another rate are converted and several channels become their mean; silent, empty, damaged and too
    short ones, and those without a transcript, are left out. The log counts and lists all of them.

    Args:
        path: the folder of the splits.
        train: names of splits.
        validation: names of splits; or how many utterances of the training splits are held out, or which share of
            them. train: [dev-clean] with validation: 500 is the original toolkit's split, 2203 to 500.
        characters: folder or hub id of the model whose vocab.json is used; None for wav2vec 2.0's own.
        batch_size: utterances a training batch.
        validation_batch_size: the same for validation; 1 is without padding, as the original has it.
        rate: of the models, in Hz.
        window: samples that the models' first frame takes.
        hop: samples from one frame to the next.
        longest: seconds; longer utterances are left out, so that one of them does not fill the memory.
        unknown: leave out utterances with characters that the models do not know ("skip"), or these characters.
        normalised: bring each recording to mean 0 and variance 1.
        speeds: of which one is drawn each time a recording is trained on, such as [0.9, 1.0, 1.1].
        alike: training batches of recordings of about one length, so that little of them is padding.
        unit: which error rate is the score; both are reported.
        workers: of the loaders.

    Raises:
        ConfigError: if files are missing or say nothing that can be read, an argument is out of its range, or too few
            recordings are left to train or validate on.
        MissingExtraError: if soundfile or jiwer is not installed, or SciPy where recordings change their rate.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {path} with LibriSpeech's splits. Name another data.path.")
    known = load_characters(characters)
    wanted = Wanted(
        characters=known, rate=rate, window=window, hop=hop, longest=longest, unknown=unknown,
        **extremes(speeds),
    )  # fmt: skip
    loading = Loading(batch_size, validation_batch_size, normalised, tuple(speeds), alike, unit, workers)
    named = () if isinstance(validation, (int, float)) else _names("validation", validation)
    both = set(named) & set(_names("train", train))
    if both:
        raise ConfigError(f"{sorted(both)} must not be trained on and validated: the score would be of known texts.")
    parts = {name: librispeech_split(folder / name) for name in (*train, *named)}
    held = validation if isinstance(validation, (int, float)) else None
    return _data(
        [utterance for name in train for utterance in parts[name]], {name: parts[name] for name in named}, held,
        known, wanted, loading,
    )  # fmt: skip


def speech_manifest(
    *,
    path: str,
    validation: str | int | float | Mapping[str, str] = 0.1,
    characters: str | None = None,
    batch_size: int = 8,
    validation_batch_size: int = 1,
    rate: int = 16_000,
    window: int = WINDOW,
    hop: int = HOP,
    longest: float | None = None,
    unknown: Literal["skip", "remove"] = "skip",
    normalised: bool = True,
    speeds: Sequence[float] = (1.0,),
    alike: bool = False,
    unit: Literal["word", "character"] = "word",
    workers: int = 0,
) -> Data:
    """Read speech and its transcripts from a table (.csv or .tsv) with the columns "path" and "text".

    What becomes of unfit recordings, and all arguments that are not below: as for `librispeech`.

    Args:
        path: the training table; paths in it count from its folder.
        validation: another table, or several by name; or how many rows of the first are held out, or which share.
        characters: folder or hub id of the model whose vocab.json is used; None for wav2vec 2.0's own.
        batch_size: utterances a training batch.
        validation_batch_size: the same for validation.
        rate: of the models, in Hz.
        window: samples that the models' first frame takes.
        hop: samples from one frame to the next.
        longest: seconds; longer utterances are left out.
        unknown: "skip" utterances with characters that the models do not know, or "remove" these characters.
        normalised: bring each recording to mean 0 and variance 1.
        speeds: of which one is drawn each time a recording is trained on, such as [0.9, 1.0, 1.1].
        alike: training batches of recordings of about one length, so that little of them is padding.
        unit: which error rate is the score; both are reported.
        workers: of the loaders.

    Raises:
        ConfigError: if files are missing or say nothing that can be read, an argument is out of its range, or too few
            recordings are left to train or validate on.
        MissingExtraError: if soundfile or jiwer is not installed, or SciPy where recordings change their rate.
    """
    known = load_characters(characters)
    wanted = Wanted(
        characters=known, rate=rate, window=window, hop=hop, longest=longest, unknown=unknown,
        **extremes(speeds),
    )  # fmt: skip
    loading = Loading(batch_size, validation_batch_size, normalised, tuple(speeds), alike, unit, workers)
    tables = {"validation": validation} if isinstance(validation, str) else validation
    if isinstance(tables, Mapping):
        named = {name: manifest(Path(file)) for name, file in tables.items()}
        return _data(manifest(Path(path)), named, None, known, wanted, loading)
    return _data(manifest(Path(path)), {}, tables, known, wanted, loading)


def _names(name: str, splits: Sequence[str]) -> Sequence[str]:
    if isinstance(splits, str) or not splits:
        raise ConfigError(f"{name} must be a list of splits, such as [dev-clean], got {splits!r}.")
    return splits


def _data(
    train: Sequence[Utterance],
    named: Mapping[str, Sequence[Utterance]],
    held: float | None,
    characters: Characters,
    wanted: Wanted,
    loading: Loading,
) -> Data:
    for name in ("rate", "window", "hop"):
        check_whole(name, getattr(wanted, name))
    check_unit(loading.unit)
    kept = screened(train, wanted, "train", decode=held is not None)

    def plain(samples: Sequence[Sample]) -> Utterances:
        return Utterances(samples, wanted.rate, normalised=loading.normalised)

    learnt: Utterances | Subset[Any]
    learnt = Utterances(kept, wanted.rate, normalised=loading.normalised, speeds=loading.speeds)
    seconds = [sample.seconds for sample in kept]
    as_it_is = replace(wanted, slowest=1.0, fastest=1.0)
    parts: dict[str, Utterances | Subset[Any]] = {
        name: plain(screened(found, as_it_is, name, decode=True)) for name, found in named.items()
    }
    if held is not None:
        count = _held(held, kept)
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        learnt, rest = random_split(learnt, [len(kept) - count, count], generator)
        seconds = [seconds[number] for number in learnt.indices]
        parts["validation"] = Subset(plain(kept), rest.indices)
    signals = CTCSignals(blank=characters.blank, window=wanted.window, hop=wanted.hop)
    return Data(
        train=loading.training(learnt, seconds),
        validation={name: loading.scoring(part) for name, part in parts.items()},
        facts={**_facts(characters), "rate": wanted.rate, "normalised": loading.normalised},
        adapter=signals.adapters,
        pipeline=ErrorRatePipeline(characters, loading.unit, adapter=signals.teacher),
    )


def _held(held: float, kept: Sequence[Sample]) -> int:
    count = check_whole("validation", held, 1, "utterances") if isinstance(held, int) else 0
    if isinstance(held, float):
        check_between("validation", held, 0.0, 1.0)
        count = max(1, round(held * len(kept)))
    if count >= len(kept):
        raise ConfigError(
            f"validation must leave something to train on, and holds out {count} of {len(kept)} usable utterances. "
            "Name fewer, or another split."
        )
    return count


def _facts(characters: Characters) -> dict[str, int]:
    return {
        "characters": max(characters.ids.values()) + 1,
        "blank": characters.blank,
        "characters_mark": characters.mark,
    }
