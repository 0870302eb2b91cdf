"""What Whisper writes down of recordings, greedily, and its word error rate."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.speech.dictation import Script
from knowledge_distillation.domains.speech.error_rates import Counts, ErrorRates, check_unit, counted
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.training.pipelines import to_device

APOSTROPHE = "\u2019"


def plain(text: str) -> str:
    """A text in small letters without punctuation and symbols, one space between words, characters as of NFKC.

    Marks that belong to letters stay, as the vowels of Hindi and Thai do, and apostrophes within a word.

    Example:
        >>> plain(" Don't  press 'One', please!")
        "don't press one please"
    """
    letters = unicodedata.normalize("NFKC", text).lower().replace(APOSTROPHE, "'")
    kept = "".join(" " if sign != "'" and unicodedata.category(sign)[0] in "PS" else sign for sign in letters)
    return " ".join(word for word in (part.strip("'") for part in kept.split()) if word)


def compared(pairs: Sequence[tuple[str, str]], unit: Literal["word", "character"]) -> Counts:
    """Errors of texts as of `plain`, in words and in characters.

    Args:
        pairs: what was said and what was heard, one a recording.
        unit: "character" counts characters without the spaces between them, for languages that write none: there a
            space is what is left of punctuation.
    """
    plainly = [(plain(said), plain(heard)) for said, heard in pairs]
    counts = counted(plainly)
    if unit == "word":
        return counts
    letters = counted([(said.replace(" ", ""), heard.replace(" ", "")) for said, heard in plainly])
    return {**counts, **{name: letters[name] for name in ("character_errors", "characters") if name in letters}}


def written_down(model: Any, features: Tensor, script: Script) -> list[list[int]]:
    """The tokens that a model says of recordings, each time the likeliest, without prompt and end.

    Args:
        model: of Transformers' WhisperForConditionalGeneration, or one that is called alike, as an exported one:
            without `get_encoder` it hears the recordings anew at each token. Left in its mode.
        features: [recordings, bins, frames], on the model's device.
        script: gives prompt, end, and how many tokens there can be.
    """
    ids = torch.tensor([script.prompt] * len(features), device=features.device)
    ended = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    with undisturbed(model):
        known = (
            {"encoder_outputs": model.get_encoder()(features)}
            if hasattr(model, "get_encoder")
            else {"input_features": features}
        )
        while ids.shape[1] < script.longest and not bool(ended.all()):
            # the whole text each time: texts are short beside the 1,500 frames that are heard once
            said = model(**known, decoder_input_ids=ids, use_cache=False).logits[:, -1].argmax(dim=-1)
            ids, ended = torch.cat([ids, said.unsqueeze(1)], dim=1), ended | (said == script.end)
    rows = ids[:, len(script.prompt) :].tolist()
    return [row[: row.index(script.end)] if script.end in row else row for row in rows]


class DictationPipeline(ErrorRates):
    """Errors of what a model writes down over what was said; lower is better.

    Both sides are compared without case and punctuation (`plain`). Processes share the work.

    Args:
        tokenizer: of the models.
        script: of the tokenizer.
        unit: "word" or "character": which error rate is the score; both are reported. See `compared`.

    Raises:
        ConfigError: if the unit is another.
    """

    def __init__(self, tokenizer: Any, script: Script, unit: Literal["word", "character"] = "word") -> None:
        self.tokenizer, self.script, self.unit = tokenizer, script, unit
        self.metric = check_unit(unit)

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> Counts:
        """Errors and what was said, in words and in characters; errors as above."""
        return compared(self.transcripts(model, data_loader), self.unit)

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
