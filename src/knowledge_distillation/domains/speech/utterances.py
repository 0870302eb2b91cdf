"""Recordings and their characters as samples, and several of them as one padded batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.domains.speech.audio import Unusable, read_audio
from knowledge_distillation.domains.speech.resampling import resample, scipy_signal
from knowledge_distillation.domains.speech.screening import Sample
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)


class Utterances(Dataset[dict[str, Tensor]]):
    """Recordings, read when they are asked for: {"input_values": float [samples], "labels": int64 [characters]}.

    One that turns out silent or damaged is replaced by the next that is not, and the log says so once.

    Args:
        samples: as of `screened`, at least one.
        rate: sampling rate, in Hz.
        normalised: bring each recording to mean 0 and variance 1, as wav2vec 2.0 of LibriSpeech wants it.
        speeds: one is drawn each time a recording is read; pitch and length change (Ko, Peddinti, Povey, Khudanpur,
            2015, Audio augmentation for speech recognition).

    Raises:
        ConfigError: when no sample can be read.
        MissingExtraError: if there are speeds and SciPy is not installed.
    """

    def __init__(
        self, samples: Sequence[Sample], rate: int, *, normalised: bool = True, speeds: Sequence[float] = (1.0,)
    ) -> None:
        self.samples = list(samples)
        self.rate = rate
        self.normalised = normalised
        self.speeds = tuple(speeds)
        if self.speeds != (1.0,):
            scipy_signal()
        self._told: set[int] = set()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        place, signal = self.heard(index)
        values = F.layer_norm(signal, signal.shape) if self.normalised else signal
        return {"input_values": values, "labels": torch.tensor(self.samples[place].ids, dtype=torch.int64)}

    def heard(self, index: int) -> tuple[int, Tensor]:
        """The recording of a number, or the next that can be read: its number and float [samples], not normalised."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        for place in (*range(index, len(self)), *range(index)):
            sample = self.samples[place]
            try:
                signal = read_audio(sample.file, self.rate)
            except Unusable as reason:
                self._tell(place, reason)
                continue
            if self.speeds != (1.0,):
                speed = self.speeds[int(torch.randint(len(self.speeds), ()))]
                signal = resample(signal, round(self.rate * speed), self.rate)
            return place, signal
        raise ConfigError(f"None of {len(self)} recordings can be read any more; the last is {sample.file}.")

    def _tell(self, place: int, reason: Unusable) -> None:
        if place not in self._told:
            self._told.add(place)
            file = self.samples[place].file
            logger.warning("%s is left out: %s. Another takes its place (%d so far).", file, reason, len(self._told))


def collate(samples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Samples of `Utterances` as one batch: the longest decides, and the mask says what is a recording.

    Returns:
        "input_values" float [samples, longest] with zeros behind each recording; "attention_mask" int64 of the same
        shape, 1 at recordings; "labels" int64 [samples, characters], -100 behind each text.

    Example:
        >>> short, long = ({"input_values": torch.ones(n), "labels": torch.arange(n)} for n in (1, 2))
        >>> {name: entry.tolist() for name, entry in collate([short, long]).items() if name != "input_values"}
        {'attention_mask': [[1, 0], [1, 1]], 'labels': [[0, -100], [0, 1]]}
    """
    values = [sample["input_values"] for sample in samples]
    return {
        "input_values": pad_sequence(values, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(value, dtype=torch.int64) for value in values], True),
        "labels": pad_sequence([sample["labels"] for sample in samples], batch_first=True, padding_value=IGNORED),
    }
