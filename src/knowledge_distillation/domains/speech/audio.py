"""Recordings from files: one channel, at the sampling rate of the models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.domains.speech.resampling import LARGEST_FILTER, filter_size, resample, scipy_signal
from knowledge_distillation.errors import MissingExtraError

SILENCE = 1e-5
"""Standard deviation, in shares of full scale, below which there is nothing to hear: -100 dB, under a bit of 16."""

SHORTER = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile notes of a WAV or AIFF file that ends before its header says; it then reads what is there."""
STREAMED = 2**31 - 2**16
"""From so many bytes on, a header was written before anybody knew the length."""


class Unusable(Exception):
    """Why one recording is left out; the kind is counted, the text is listed.

    Args:
        kind: such as "silent".
        detail: what was found.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind} ({detail})" if detail else kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself: samples of each channel, samples a second, and channels."""

    samples: int
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.samples / self.rate


def read_header(file: Path, rate: int) -> Header:
    """The header of a recording that can be brought to a sampling rate.

    Raises:
        Unusable: if there is no such file, it is no recording, it is empty or cut off, or its rate cannot be
            converted.
        MissingExtraError: if soundfile is not installed, or SciPy where the rate is another.
    """
    sounds = soundfile()
    if not file.is_file():
        raise Unusable("no such file")
    try:
        info = sounds.info(str(file))
    except (RuntimeError, OSError) as error:
        raise Unusable("unreadable", str(error)) from error
    if info.frames < 1:
        raise Unusable("empty")
    ended = SHORTER.search(info.extra_info)
    stated, there = map(int, ended.groups()) if ended else (0, 0)
    if there + 1 < stated < STREAMED:  # an odd number of bytes may be filled up with one
        raise Unusable("cut off", f"{there} of {stated} bytes")
    if info.samplerate != rate:
        scipy_signal()  # missing here is better than missing at night
    if filter_size(info.samplerate, rate) > LARGEST_FILTER:
        raise Unusable("odd sampling rate", f"{info.samplerate} Hz cannot be converted to {rate} Hz")
    return Header(info.frames, info.samplerate, info.channels)


def read_audio(file: Path, rate: int) -> Tensor:
    """The samples of a recording at a sampling rate, float32 [samples], full scale from -1 to 1.

    Several channels become their mean, another rate is converted.

    Raises:
        Unusable: if it cannot be decoded to its end, or is silent.
    """
    header = read_header(file, rate)
    try:
        values, given = soundfile().read(str(file), dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise Unusable("unreadable", str(error)) from error
    if len(values) < header.samples:
        raise Unusable("cut off", f"{len(values)} of {header.samples} samples")
    signal = torch.from_numpy(values).mean(dim=1)
    if not bool(torch.isfinite(signal).all()):
        raise Unusable("unreadable", "samples that are no numbers")
    if float(signal.std(correction=0)) < SILENCE:
        raise Unusable("silent")
    return resample(signal, given, rate)


def soundfile() -> Any:
    """The module that reads files.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: libsndfile is missing
        raise MissingExtraError(
            "Recordings are read by soundfile: pip install 'knowledge-distillation-toolkit[speech]'"
        ) from error
    return soundfile
