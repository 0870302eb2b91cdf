"""Which utterances can be learnt from; what cannot is left out with its reason, counted and listed in the log."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from knowledge_distillation.domains.speech.audio import Unusable, read_audio, read_header
from knowledge_distillation.domains.speech.characters import Characters
from knowledge_distillation.domains.speech.transcripts import Utterance
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
SHOWN = 10
"""Files named in the warning; all are named at level INFO."""
TOO_LONG = "too long"
"""The one reason that somebody may have chosen."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording that can be read, its text in the characters' own writing, their ids, and how long it is."""

    file: Path
    text: str
    ids: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an utterance must be like.

    Attributes:
        characters: of the models; None for models that write any text, which is then left as it is.
        rate: their sampling rate, in Hz.
        window, hop: samples that their first frame takes, and from one frame to the next.
        longest: seconds at most, at the slowest speed; None for any.
        unknown: "skip" leaves out an utterance with a character that has no id, "remove" the character alone.
        slowest, fastest: speeds at which it is heard, at most and at least 1.
    """

    characters: Characters | None
    rate: int
    window: int
    hop: int
    longest: float | None
    unknown: str
    slowest: float = 1.0
    fastest: float = 1.0

    def frames(self, samples: int) -> int:
        """How many frames the models make of so many samples."""
        return max(0, (samples - self.window) // self.hop + 1)


def screened(utterances: Sequence[Utterance], wanted: Wanted, name: str, *, decode: bool) -> list[Sample]:
    """The samples that can be used, in their order.

    Args:
        utterances: as they were found.
        wanted: what they must be like.
        name: of the split, for the log.
        decode: read every file to its end now, as for validation, whose score is a mean over what is there; else by
            their headers, and what turns out silent or damaged is replaced while training.

    Raises:
        ConfigError: if none is left, or at least as many as are left have a fault other than their length: then the
            paths, the texts or the characters are read in a wrong way.
    """
    kept: list[Sample] = []
    out: list[tuple[Path, Unusable]] = []
    notes: Counter[str] = Counter()
    for utterance in utterances:
        try:
            kept.append(_sample(utterance, wanted, notes, decode))
        except Unusable as reason:
            out.append((utterance.file, reason))
    for note, count in notes.items():
        logger.warning("%s: %d of %d recordings %s.", name, count, len(utterances), note)
    if out:
        _tell(name, out, len(utterances))
    faulty = [(file, reason) for file, reason in out if reason.kind != TOO_LONG]
    if len(kept) <= len(faulty) or not kept:
        file, fault = (faulty or out)[0]
        raise ConfigError(
            f"{name} must hold recordings that can be used, most of them, and {len(out)} of its {len(utterances)} "
            f"cannot: {file}: {fault}. The rest would be learnt from as if it were all. Look at the list in the log: "
            "are the paths, the texts and the characters the right ones?"
        )
    return kept


def _sample(utterance: Utterance, wanted: Wanted, notes: Counter[str], decode: bool) -> Sample:
    if utterance.text is None:
        raise Unusable("no transcript")
    text, ids, strange = _written(utterance.text, wanted)
    header = read_header(utterance.file, wanted.rate)
    if wanted.longest is not None and header.seconds / wanted.slowest > wanted.longest:
        raise Unusable(TOO_LONG, f"{header.seconds:.1f} s")
    frames = wanted.frames(int(header.seconds * wanted.rate / wanted.fastest))
    needed = len(ids) + sum(one == other for one, other in pairwise(ids))  # a blank between equal ones
    if frames < needed:
        raise Unusable("too short", f"{header.seconds:.3f} s, {frames} frames for {needed} characters and blanks")
    if decode:
        read_audio(utterance.file, wanted.rate)
    if strange:
        notes["lose characters that the models do not know"] += 1
    if header.rate != wanted.rate:
        notes[f"have {header.rate} Hz and are converted to {wanted.rate} Hz"] += 1
    if header.channels > 1:
        notes[f"have {header.channels} channels and are mixed to their mean"] += 1
    return Sample(utterance.file, text, tuple(ids), header.seconds)


def _written(said: str, wanted: Wanted) -> tuple[str, list[int], str]:
    """The text in the characters' writing, their ids, and the characters that it loses."""
    if wanted.characters is None:
        return " ".join(said.split()), [], ""
    text = wanted.characters.written(said)
    strange = wanted.characters.unknown(text)
    if strange and wanted.unknown == "skip":
        raise Unusable("unknown characters", strange)
    text = " ".join("".join(sign for sign in text if sign not in strange).split())
    if not text:
        raise Unusable("no transcript", "nothing but unknown characters")
    return text, wanted.characters.encode(text), strange


def _tell(name: str, out: Sequence[tuple[Path, Unusable]], total: int) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(reason.kind for _, reason in out).most_common())
    shown = "".join(f"\n  {file}: {reason}" for file, reason in out[:SHOWN])
    more = f"\n  and {len(out) - SHOWN} more, listed at level INFO" if len(out) > SHOWN else ""
    logger.warning("%s: %d of %d recordings are left out: %s.%s%s", name, len(out), total, kinds, shown, more)
    for file, reason in out[SHOWN:]:
        logger.info("%s: left out %s: %s", name, file, reason)
