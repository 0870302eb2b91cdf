"""What a Whisper teacher writes down of recordings, as the texts that its student learns from."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.speech.audio import Unusable, read_audio
from knowledge_distillation.domains.speech.error_rates import check_unit
from knowledge_distillation.domains.speech.heard import Heard
from knowledge_distillation.domains.speech.listening import compared, plain, written_down
from knowledge_distillation.domains.speech.transcripts import Utterance, manifest
from knowledge_distillation.domains.speech.whisper import whisper
from knowledge_distillation.domains.speech.whisper_inputs import load_inputs
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.teachers.cache.shards import write_whole

logger = logging.getLogger(__name__)


def pseudo_labels(
    path: str | Path,
    target: str | Path,
    *,
    model: str,
    most_errors: float = 0.1,
    language: str | None = None,
    unit: Literal["word", "character"] = "word",
    batch_size: int = 8,
) -> dict[str, int]:
    """Write a table of the recordings of another with what a Whisper model writes down of them, greedily.

    Where the recording has a transcript, what the model wrote is kept only if its error rate, without case and
    punctuation, is small enough: so what it made up is left out. Recordings that cannot be read, are too long for the
    model, or in which it hears nothing are left out too. The log counts them. The model runs on the accelerator, where
    there is one.

    What was heard is kept as it comes in TARGET.heard. Work that was broken off, or that kept nothing, goes on from
    that file when it is asked for again; the table is written at the end, whole, and the file removed.

    Args:
        path: a table with the columns "path" and "text"; texts may be empty.
        target: the table to write, a .tsv.
        model: folder or hub id of the Whisper model.
        most_errors: error rate up to which a pseudo-label is kept, >= 0.
        language: as Whisper names it; None for a model that knows English alone.
        unit: which error rate counts; "character" for languages without spaces between words.
        batch_size: recordings at once, >= 1.

    Returns:
        How many were "kept", and how many were left out as "unreadable", "too long", "nothing heard" and "too many
        errors".

    Raises:
        ConfigError: if the table or the model cannot be read, the language does not fit the model, TARGET.heard is of
            other recordings or another model, or nothing is kept.
        MissingExtraError: if Transformers, soundfile or jiwer is not installed, or SciPy where recordings change
            their rate.

    Reference: Gandhi, von Platen, Rush (2023), Distil-Whisper, arXiv:2311.00430, section 3.2: 0.1 there.
    """
    check_whole("batch_size", batch_size, 1, "recordings")
    check_unit(unit)
    compared([("a", "a")], unit)  # what is missing is missed now, and not after hours
    utterances, place = manifest(Path(path)), Path(target)
    extractor, tokenizer, script = load_inputs(model, language)
    table = zlib.crc32("\n".join(str(utterance.file) for utterance in utterances).encode())
    heard = Heard(place.with_name(f"{place.name}.heard"), {"model": model, "language": language, "recordings": table})
    _listen(utterances, heard, model, extractor, tokenizer, script, batch_size)
    found = dict.fromkeys(("kept", "unreadable", "too long", "nothing heard", "too many errors"), 0)
    rows = ["path\ttext\n"]
    for number, utterance in enumerate(utterances):
        text = heard.texts.get(number, "")
        verdict = heard.left_out.get(number) or _verdict(utterance.text, text, most_errors, unit)
        found[verdict] += 1
        if verdict == "kept":
            rows.append(f"{utterance.file.absolute()}\t{text}\n")
    logger.warning("%s: %s", path, ", ".join(f"{count} {name}" for name, count in found.items() if count))
    if len(rows) == 1:
        raise ConfigError(
            f"{path} must hold a recording of which {model!r} writes down something that can be learnt, and holds "
            f"none: {found}. Look at a few by ear, or raise most_errors."
        )
    write_whole(place, "".join(rows))
    heard.place.unlink()
    return found


def _listen(
    utterances: Sequence[Utterance], heard: Heard, model: str, extractor: Any, tokenizer: Any, script: Any, size: int
) -> None:
    """Hear what was not heard before."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    teacher: Any = whisper(model).eval().to(device or "cpu")
    waiting: list[tuple[int, Any]] = []
    for number, utterance in enumerate(utterances):
        if number not in heard:
            try:
                features = _features(utterance, extractor)
            except Unusable as reason:
                heard.add(number, reason=reason.kind if reason.kind == "too long" else "unreadable")
                logger.warning("%s is left out: %s.", utterance.file, reason)
            else:
                waiting.append((number, features))
        if waiting and (len(waiting) == size or number + 1 == len(utterances)):
            batch = torch.stack([features for _, features in waiting]).to(device or "cpu")
            for (known, _), ids in zip(waiting, written_down(teacher, batch, script), strict=True):
                heard.add(known, text=" ".join(str(tokenizer.decode(ids, skip_special_tokens=True)).split()))
            waiting = []


def _features(utterance: Utterance, extractor: Any) -> Any:
    if any(sign in str(utterance.file) for sign in "\t\r\n"):
        raise Unusable("unreadable", "its path has a tab or a line break, which no .tsv can hold")
    signal = read_audio(utterance.file, extractor.sampling_rate)
    if len(signal) > extractor.n_samples:
        raise Unusable("too long", f"{len(signal) / extractor.sampling_rate:.1f} s")
    return extractor(signal.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")["input_features"][0]


def _verdict(said: str | None, written: str, most_errors: float, unit: Literal["word", "character"]) -> str:
    if not plain(written):
        return "nothing heard"
    if said is None or not plain(said):
        return "kept"
    counts = compared([(said, written)], unit)
    errors, total = (f"{unit}_errors", f"{unit}s")
    return "kept" if counts[errors] <= most_errors * counts[total] else "too many errors"
