"""What a Whisper teacher writes down of recordings, as the texts that its student learns from."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import torch

from knowledge_distillation.domains.speech.audio import Unusable, read_audio
from knowledge_distillation.domains.speech.dictation import Script
from knowledge_distillation.domains.speech.dictation_data import load_extractor
from knowledge_distillation.domains.speech.error_rates import counted
from knowledge_distillation.domains.speech.listening import plain, written_down
from knowledge_distillation.domains.speech.transcripts import Utterance, manifest
from knowledge_distillation.domains.speech.whisper import whisper
from knowledge_distillation.domains.tokenizers import load_tokenizer
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)


def pseudo_labels(
    path: str | Path,
    target: str | Path,
    *,
    model: str,
    most_errors: float = 0.1,
    language: str | None = None,
    batch_size: int = 8,
) -> dict[str, int]:
    """Write a table of the recordings of another with what a Whisper model writes down of them, greedily.

    Where the recording has a transcript, what the model wrote is kept only if its word error rate, without case and
    punctuation, is small enough: so what it made up is left out. Recordings that cannot be read, are too long for the
    model, or in which it hears nothing are left out too. The log counts them.

    Args:
        path: a table with the columns "path" and "text"; texts may be empty.
        target: the table to write, a .tsv.
        model: folder or hub id of the Whisper model.
        most_errors: word error rate up to which a pseudo-label is kept, >= 0.
        language: as Whisper names it; None for a model that knows English alone.
        batch_size: recordings at once.

    Returns:
        How many were "kept", and how many were left out as "unreadable", "too long", "nothing heard" and "too many
        errors".

    Raises:
        ConfigError: if the table or the model cannot be read, or nothing is kept.
        MissingExtraError: if Transformers, soundfile or jiwer is not installed.

    Reference: Gandhi, von Platen, Rush (2023), Distil-Whisper, arXiv:2311.00430, section 3.2: 0.1 there.
    """
    extractor, positions = load_extractor(model)
    tokenizer = load_tokenizer(model)
    script = Script.of(tokenizer, positions, language)
    teacher = whisper(model).eval()
    found = dict.fromkeys(("kept", "unreadable", "too long", "nothing heard", "too many errors"), 0)
    rows = [["path", "text"]]
    heard: list[tuple[Utterance, Any]] = []
    utterances = manifest(Path(path))
    for number, utterance in enumerate(utterances, start=1):
        try:
            signal = read_audio(utterance.file, extractor.sampling_rate)
            if len(signal) > extractor.n_samples:
                found["too long"] += 1
            else:
                features = extractor(signal.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
                heard.append((utterance, features["input_features"][0]))
        except Unusable as reason:
            found["unreadable"] += 1
            logger.warning("%s is left out: %s.", utterance.file, reason)
        if heard and (len(heard) == batch_size or number == len(utterances)):
            written = written_down(teacher, torch.stack([features for _, features in heard]), script)
            for (known, _), ids in zip(heard, written, strict=True):
                text = " ".join(str(tokenizer.decode(ids, skip_special_tokens=True)).split())
                verdict = _verdict(known.text, text, most_errors)
                found[verdict] += 1
                if verdict == "kept":
                    rows.append([str(known.file.absolute()), text])
            heard = []
    logger.warning("%s: %s", path, ", ".join(f"{count} {name}" for name, count in found.items() if count))
    if len(rows) == 1:
        raise ConfigError(
            f"{path} must hold a recording of which {model!r} writes down something that can be learnt, and holds "
            f"none: {found}. Look at a few by ear, or raise most_errors."
        )
    with Path(target).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
    return found


def _verdict(said: str | None, written: str, most_errors: float) -> str:
    if not plain(written):
        return "nothing heard"
    if said is None or not plain(said):
        return "kept"
    counts = counted([(plain(said), plain(written))])
    return "kept" if counts["word_errors"] <= most_errors * counts["words"] else "too many errors"
