"""What goes wrong for a user when what a model heard is counted wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation.domains.speech import ErrorRatePipeline, load_characters
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.signals import Signals
from tests.domains.speech import tiny

CHARACTERS = load_characters()


class Parrot(nn.Module):
    """Says what the batch tells it to say, one frame an id."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def heard(model: nn.Module, batch: Any, temperature: float) -> Signals:
    logits = torch.nn.functional.one_hot(batch["said"], 32).float()
    return Signals(logits=logits, mask=batch["mask"])


def batch_of(*pairs: tuple[str, str]) -> dict[str, Any]:
    """(said, heard) pairs; behind what is heard stand masked frames that say "X"."""
    frames = [[sign for number in CHARACTERS.encode(text) for sign in (number, number, 0)] for _, text in pairs]
    longest = max(map(len, frames)) + 2
    labels = [torch.tensor(CHARACTERS.encode(text)) for text, _ in pairs]
    return {
        "said": torch.tensor([ids + [CHARACTERS.ids["X"]] * (longest - len(ids)) for ids in frames]),
        "mask": torch.tensor([[place < len(ids) for place in range(longest)] for ids in frames]),
        "labels": nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100),
    }


LOADER = [batch_of(("GOOD DAY TO YOU", "GOOD DAY TO YOU"), ("HELLO", "HALLO YOU")), batch_of(("ONE TWO", "TWO"))]
"""Of 7 words one is replaced, one added, one left out; of 27 characters 1, 4 and 4."""


def test_rates_are_over_all_words_and_characters() -> None:
    """Otherwise short texts weigh more, and rates do not compare with anybody's."""
    found = ErrorRatePipeline(CHARACTERS, adapter=heard).run_inference_pipeline(Parrot(), LOADER)
    assert found == {"inference_result": 3 / 7, "wer": 3 / 7, "cer": 9 / 27, "count": 3}
    letters = ErrorRatePipeline(CHARACTERS, "character", adapter=heard)
    assert letters.run_inference_pipeline(Parrot(), LOADER)["inference_result"] == 9 / 27
    assert letters.higher_is_better is False


def test_processes_that_share_the_loader_find_the_same() -> None:
    """Otherwise more GPUs give another score."""
    pipeline = ErrorRatePipeline(CHARACTERS, adapter=heard)
    parts = [pipeline.measure_part(Parrot(), part) for part in (LOADER[:1], [], LOADER[1:])]
    assert pipeline.combine(parts) == pipeline.run_inference_pipeline(Parrot(), LOADER)


UNLABELLED = {name: entry for name, entry in LOADER[0].items() if name != "labels"}


@pytest.mark.parametrize("batches", [[], [UNLABELLED]], ids=["none", "unlabelled"])
def test_nothing_to_compare_with_is_refused(batches: Any) -> None:
    """Otherwise an empty loader has no errors and is the best."""
    with pytest.raises(ModelContractError, match=r"no word to compare|Error rates need"):
        ErrorRatePipeline(CHARACTERS, adapter=heard).run_inference_pipeline(Parrot(), batches)


def test_decoding_is_that_of_transformers(tmp_path: Path) -> None:
    """Otherwise a rate of 0 here is another there."""
    (tmp_path / "vocab.json").write_text(json.dumps(dict(CHARACTERS.ids)))
    theirs = tiny.transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    for seed in range(20):
        draws = torch.randint(4, 32, (40,), generator=torch.Generator().manual_seed(seed))
        frames = torch.where(draws > 20, 0, draws).repeat_interleave(2).tolist()
        expected = theirs.decode(frames)
        assert CHARACTERS.decode(frames) == " ".join(expected.replace("<unk>", "").split())


def test_the_characters_of_a_folder_are_read(tmp_path: Path) -> None:
    """Otherwise the ids of one model are letters of another."""
    assert len(CHARACTERS.ids) == 32
    (tmp_path / "vocab.json").write_text('{"[PAD]": 2, "|": 0, "a": 1, "é": 3}')
    found = load_characters(str(tmp_path))
    assert (found.blank, found.encode(found.written("A  É")), found.mark == CHARACTERS.mark) == (2, [1, 0, 3], False)


@pytest.mark.parametrize("content", ["[1]", '{"a": 0}', '{"<pad>": 0, "a": 1}', "{", '{"deu": {"a": 1}}'])
def test_a_vocabulary_of_something_else_is_refused(content: str, tmp_path: Path) -> None:
    """Otherwise words or languages are taken for letters."""
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(ConfigError, match=r"vocab\.json must"):
        load_characters(str(tmp_path))
