"""Recordings and the texts that Whisper shall write down of them, from tables of paths and texts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.speech.dictation import (
    Dictations,
    collate_dictations,
    dictation_student,
    dictation_teacher,
)
from knowledge_distillation.domains.speech.listening import DictationPipeline
from knowledge_distillation.domains.speech.log_mel import HOP
from knowledge_distillation.domains.speech.screening import Sample, Wanted, screened
from knowledge_distillation.domains.speech.transcripts import manifest
from knowledge_distillation.domains.speech.utterances import Utterances
from knowledge_distillation.domains.speech.whisper_inputs import load_inputs
from knowledge_distillation.domains.tokenizers import ids_of, mark_of
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)


def dictation(
    *,
    path: str,
    validation: str | Mapping[str, str],
    model: str,
    language: str | None = None,
    unit: Literal["word", "character"] = "word",
    batch_size: int = 8,
    validation_batch_size: int = 8,
    workers: int = 0,
) -> Data:
    """Read recordings and texts for Whisper from tables (.csv or .tsv) with the columns "path" and "text".

    The texts may be what the teacher wrote down (`pseudo_labels`), for audio without transcripts. Recordings that are
    unfit or longer than the model hears, and texts longer than its decoder's positions, are left out; the log counts
    and lists them. Scored by the error rate of greedy decoding, without case and punctuation.

    Args:
        path: the training table; paths in it count from its folder.
        validation: another table, or several by name.
        model: folder or hub id of the Whisper model whose tokenizer and features are used.
        language: as Whisper names it, such as "de"; None for a model that knows English alone.
        unit: which error rate is the score; both are reported. "character" for languages without spaces between words.
        batch_size: recordings a training batch.
        validation_batch_size: the same for validation.
        workers: of the loaders.

    Raises:
        ConfigError: if files are missing or say nothing that can be read, the model is none of Whisper's, the language
            does not fit it, or no recording is left.
        MissingExtraError: if Transformers or soundfile is not installed, or SciPy where recordings change their rate.
    """
    extractor, tokenizer, script = load_inputs(model, language)
    positions = script.longest

    def part(name: str, file: str) -> Dictations:
        samples = listenable(manifest(Path(file)), extractor, name, decode=name != "train")
        kept = [
            sample for sample in samples if len(script.prompt) + len(ids_of(tokenizer, f" {sample.text}")) < positions
        ]
        if len(kept) < len(samples):
            logger.warning(
                "%s: %d of %d texts have more than the %d tokens that the model has positions for, and are left out.",
                name, len(samples) - len(kept), len(samples), positions,
            )  # fmt: skip
        if not kept:
            raise ConfigError(f"{file} must hold a text of at most {positions} tokens, and every one is longer.")
        recordings = Utterances(kept, extractor.sampling_rate, normalised=False)
        return Dictations(recordings, [sample.text for sample in kept], extractor, tokenizer, script)

    def loader(samples: Dictations, size: int, shuffle: bool) -> DataLoader[Any]:
        collate = partial(collate_dictations, end=script.end)
        return DataLoader(samples, batch_size=size, shuffle=shuffle, collate_fn=collate, num_workers=workers)

    named = {"validation": validation} if isinstance(validation, str) else validation
    return Data(
        train=loader(part("train", path), batch_size, True),
        validation={name: loader(part(name, file), validation_batch_size, False) for name, file in named.items()},
        facts={"tokens_mark": mark_of(tokenizer)},
        adapter=(dictation_student, dictation_teacher),
        pipeline=DictationPipeline(tokenizer, script, unit),
    )


def listenable(utterances: Sequence[Any], extractor: Any, name: str, *, decode: bool) -> list[Sample]:
    """The utterances that Whisper can hear; as of `screened`."""
    wanted = Wanted(
        characters=None, rate=extractor.sampling_rate, window=2 * HOP, hop=2 * HOP, longest=extractor.chunk_length,
        unknown="skip",
    )  # fmt: skip
    return screened(utterances, wanted, name, decode=decode)
