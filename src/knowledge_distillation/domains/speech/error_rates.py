"""Word and character error rates of what a model hears, by greedy CTC decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from knowledge_distillation.capture.adapters import IGNORED, Adapter
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.speech.characters import Characters
from knowledge_distillation.domains.speech.signals import CTCSignals
from knowledge_distillation.errors import ConfigError, MissingExtraError, ModelContractError
from knowledge_distillation.training.pipelines import to_device

Counts = dict[str, int]


class ErrorRates(ABC):
    """Errors of what a model hears over what was said, over the whole loader; lower is better.

    Substitutions, deletions and insertions count; a rate can be above 1. Processes share the work.

    Attributes:
        metric: "wer" or "cer": which rate is the score; both are reported.
    """

    higher_is_better = False
    metric: str

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": the rate, "wer", "cer", "count": recordings}.

        Raises:
            ModelContractError: if batches carry no labels, or nothing was said in them.
            MissingExtraError: if jiwer is not installed.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> Counts:
        """Errors and what was said, in words and in characters; errors as above."""
        return counted(self.transcripts(model, data_loader))

    def combine(self, parts: Sequence[Counts]) -> dict[str, Any]:
        """The rates of all parts together; ModelContractError if nothing was said."""
        return rates(parts, self.metric)

    @abstractmethod
    def transcripts(self, model: nn.Module, data_loader: Iterable[Any]) -> list[tuple[str, str]]:
        """What was said and what the model heard, one pair a recording; ModelContractError without labels."""


class ErrorRatePipeline(ErrorRates):
    """Errors of a model's words over the words that were said, over the whole loader; lower is better.

    Substitutions, deletions and insertions count; a rate can be above 1. Processes share the work.

    Args:
        characters: of the model.
        unit: "word" or "character": which rate is the score; both are reported.
        adapter: reads logits and mask; None for that of `CTCSignals`.

    Raises:
        ConfigError: if the unit is another.
    """

    def __init__(
        self, characters: Characters, unit: Literal["word", "character"] = "word", adapter: Adapter | None = None
    ) -> None:
        self.characters = characters
        self.unit = unit
        self.adapter = adapter or CTCSignals(blank=characters.blank).teacher
        self.metric = check_unit(unit)

    def transcripts(self, model: nn.Module, data_loader: Iterable[Any]) -> list[tuple[str, str]]:
        """What was said and what the model heard, one pair an utterance.

        Raises:
            ModelContractError: if batches carry no labels.
        """
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        signs = {number: sign for sign, number in self.characters.ids.items()}
        pairs = []
        with undisturbed(model):
            for batch in data_loader:
                content = to_device(batch, device)
                signals = self.adapter(model, content, 1.0)
                if signals.logits is None or signals.mask is None or "labels" not in content:
                    raise ModelContractError("Error rates need logits, a mask of frames, and the batches' 'labels'.")
                best = signals.logits.argmax(dim=-1)
                for ids, counted, labels in zip(best, signals.mask, content["labels"], strict=True):
                    text = "".join(signs[number] for number in labels[labels != IGNORED].tolist())
                    pairs.append((text.replace("|", " "), self.characters.decode(ids[counted].tolist())))
        return pairs


def check_unit(unit: str) -> str:
    """The error rate of a unit, "wer" of "word" and "cer" of "character"; ConfigError for any other."""
    if unit not in ("word", "character"):
        raise ConfigError(f"unit must be 'word' or 'character', got {unit!r}.")
    return "wer" if unit == "word" else "cer"


def counted(pairs: Sequence[tuple[str, str]]) -> Counts:
    """Errors and what was said, in words and in characters; empty where there are no pairs.

    Args:
        pairs: what was said and what was heard, one an utterance.

    Raises:
        MissingExtraError: if jiwer is not installed.
    """
    if not pairs:
        return {}
    said, found = [truth for truth, _ in pairs], [text for _, text in pairs]
    words, letters = _errors("process_words", said, found), _errors("process_characters", said, found)
    return {
        "utterances": len(pairs),
        "word_errors": words[0],
        "words": words[1],
        "character_errors": letters[0],
        "characters": letters[1],
    }


def rates(parts: Sequence[Counts], metric: str) -> dict[str, Any]:
    """{"inference_result": the rate that `metric` names, "wer", "cer", "count": utterances} of all parts together.

    Raises:
        ModelContractError: if nothing was said.
    """
    total = {name: sum(part[name] for part in parts if part) for part in parts for name in part}
    if not total.get("words"):
        raise ModelContractError(
            "The validation loader gave no word to compare with, so there is no error rate. Look at the texts."
        )
    found = {
        "wer": total["word_errors"] / total["words"],
        "cer": total["character_errors"] / total["characters"],
    }
    return {"inference_result": found[metric], **found, "count": total["utterances"]}


def _errors(measure: str, said: Sequence[str], found: Sequence[str]) -> tuple[int, int]:
    """Errors and the length of what was said, by jiwer."""
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtraError(
            "Error rates are counted by jiwer: pip install 'knowledge-distillation-toolkit[speech]'"
        ) from error
    counts = getattr(jiwer, measure)(list(said), list(found))
    errors = counts.substitutions + counts.deletions + counts.insertions
    return int(errors), int(counts.hits + counts.substitutions + counts.deletions)
