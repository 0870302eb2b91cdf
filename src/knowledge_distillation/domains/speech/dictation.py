"""Recordings and texts as batches for Whisper's encoder and decoder, and the signals of its models on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.capture.adapters.auto import call, read_output
from knowledge_distillation.domains.speech.utterances import Utterances
from knowledge_distillation.domains.tokenizers import end_of_text, ids_of
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.signals import EMPTY, Signals

START, SILENT, TASK = "<|startoftranscript|>", "<|notimestamps|>", "<|transcribe|>"


@dataclass(frozen=True, slots=True)
class Script:
    """How a text stands in Whisper's decoder.

    Attributes:
        prompt: ids before each text: the start, of a model of many languages also the language and the task, and that
            no times follow.
        end: the id behind it.
        longest: ids that the decoder has positions for.
    """

    prompt: tuple[int, ...]
    end: int
    longest: int

    @classmethod
    def of(cls, tokenizer: Any, longest: int, language: str | None = None) -> Script:
        """The script of a tokenizer; `language` such as "de", None for a model that knows English alone.

        Raises:
            ConfigError: if it is not Whisper's, or does not know the language.
        """
        names = [START, *([f"<|{language}|>", TASK] if language else []), SILENT]
        known = tokenizer.get_vocab()
        absent = [name for name in names if name not in known]
        if absent:
            raise ConfigError(
                f"The tokenizer must be a Whisper model's, and lacks {absent}. Name that model's folder or hub id, and "
                "a language that it knows, as Whisper writes it: en, de, zh."
            )
        return cls(tuple(known[name] for name in names), end_of_text(tokenizer), longest)

    def rows(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What the decoder reads and what it should say at each place, -100 where that is the prompt."""
        whole = [*self.prompt, *ids, self.end]
        learnt = [IGNORED] * (len(self.prompt) - 1) + [*ids, self.end]
        return torch.tensor(whole[:-1]), torch.tensor(learnt)


class Dictations(Dataset[dict[str, Tensor]]):
    """Recordings as log-mel features with their texts: {"input_features", "decoder_input_ids", "labels"}.

    Args:
        recordings: not normalised.
        texts: of them, in their order.
        extractor: Transformers' WhisperFeatureExtractor; it pads to the 30 seconds that Whisper hears.
        tokenizer: of the model.
        script: of the tokenizer.
    """

    def __init__(
        self, recordings: Utterances, texts: Sequence[str], extractor: Any, tokenizer: Any, script: Script
    ) -> None:
        self.recordings, self.extractor = recordings, extractor
        self.rows = [script.rows(ids_of(tokenizer, f" {text}")) for text in texts]  # words begin with a space

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        place, signal = self.recordings.heard(index)
        features = self.extractor(signal.numpy(), sampling_rate=self.recordings.rate, return_tensors="pt")
        read, said = self.rows[place]
        return {"input_features": features["input_features"][0], "decoder_input_ids": read, "labels": said}


def collate_dictations(samples: Sequence[Mapping[str, Tensor]], end: int) -> dict[str, Tensor]:
    """Samples of `Dictations` as one batch: "input_features" float [samples, bins, frames], "decoder_input_ids" int64
    [samples, tokens] with `end` behind each text, and "labels" of the same shape, -100 behind each text."""

    def padded(name: str, padding: int) -> Tensor:
        return pad_sequence([sample[name] for sample in samples], batch_first=True, padding_value=padding)

    return {
        "input_features": torch.stack([sample["input_features"] for sample in samples]),
        "decoder_input_ids": padded("decoder_input_ids", end),
        "labels": padded("labels", IGNORED),
    }


def dictation_student(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """What a model says at each place of the texts: logits [samples, tokens, vocabulary], labels, and a mask where they
    count.

    Args:
        model: of Transformers' WhisperForConditionalGeneration.
        batch: as of `collate_dictations`.
        temperature: accepted for the adapter's signature; not used.

    Raises:
        ModelContractError: if the batch has another form.
    """
    if not isinstance(batch, Mapping) or not {"input_features", "decoder_input_ids", "labels"} <= batch.keys():
        found = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
        raise ModelContractError(
            "A batch must be a mapping with 'input_features', 'decoder_input_ids' and 'labels', got "
            f"{found}. Use the data set 'dictation', or its collate function."
        )
    inputs = {name: batch[name] for name in ("input_features", "decoder_input_ids")}
    said = read_output(call(model, (), {**inputs, "use_cache": False}), model, EMPTY, None, EMPTY)
    labels = batch["labels"]
    return Signals(logits=said.logits, labels=labels, mask=labels != IGNORED)


def dictation_teacher(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """The same for a teacher, whose mask tells texts with their prompts from padding, as a cache keeps them."""
    said = dictation_student(model, batch, temperature)
    whole = (batch["labels"] != IGNORED).flip(1).cumsum(1).flip(1) > 0
    return Signals(logits=said.logits, mask=whole)
