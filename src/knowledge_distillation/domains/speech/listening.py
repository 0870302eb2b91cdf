"""What Whisper writes down of recordings, greedily, and its word error rate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.speech.dictation import Script
from knowledge_distillation.domains.speech.error_rates import Counts, ErrorRates, counted
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.training.pipelines import to_device

APOSTROPHE = "\u2019"


def plain(text: str) -> str:
    """A text in small letters without punctuation, one space between words.

    Example:
        >>> plain(" Don't  press  One, please!")
        "don't press one please"
    """
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower().replace(APOSTROPHE, "'")).split())


def written_down(model: Any, features: Tensor, script: Script) -> list[list[int]]:
    """The tokens that a model says of recordings, each time the likeliest, without prompt and end.

    Args:
        model: of Transformers' WhisperForConditionalGeneration; left in its mode.
        features: [recordings, bins, frames], on the model's device.
        script: gives prompt, end, and how many tokens there can be.
    """
    ids = torch.tensor([script.prompt] * len(features), device=features.device)
    ended = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    with undisturbed(model):
        heard = model.get_encoder()(features)
        while ids.shape[1] < script.longest and not bool(ended.all()):
            # the whole text each time: texts are short beside the 1,500 frames that are heard once
            said = model(encoder_outputs=heard, decoder_input_ids=ids, use_cache=False).logits[:, -1].argmax(dim=-1)
            ids, ended = torch.cat([ids, said.unsqueeze(1)], dim=1), ended | (said == script.end)
    rows = ids[:, len(script.prompt) :].tolist()
    return [row[: row.index(script.end)] if script.end in row else row for row in rows]


class DictationPipeline(ErrorRates):
    """Errors of the words that a model writes down over the words that were said; lower is better.

    Both sides are compared without case and punctuation (`plain`). Processes share the work.

    Args:
        tokenizer: of the models.
        script: of the tokenizer.
    """

    metric = "wer"

    def __init__(self, tokenizer: Any, script: Script) -> None:
        self.tokenizer, self.script = tokenizer, script

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> Counts:
        """Errors and what was said, in words and in characters; errors as above."""
        return counted([(plain(said), plain(heard)) for said, heard in self.transcripts(model, data_loader)])

    def transcripts(self, model: nn.Module, data_loader: Iterable[Any]) -> list[tuple[str, str]]:
        """What was said and what the model wrote down, one pair a recording."""
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        pairs = []
        for batch in data_loader:
            if "labels" not in batch:
                raise ModelContractError("Error rates need the batches' 'labels': there is nothing to compare with.")
            content = to_device(batch, device)
            for ids, labels in zip(
                written_down(model, content["input_features"], self.script), content["labels"], strict=True
            ):
                said = labels[(labels != IGNORED) & (labels != self.script.end)].tolist()
                pairs.append((self._text(said), self._text(ids)))
        return pairs

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))
