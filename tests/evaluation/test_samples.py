"""What goes wrong for a user who looks at the samples that got worse; files are read back by other libraries."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.samples import look_at
from tests.training.toys import seeded


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_read_back_by_pillow(tmp_path: Path, channels: int) -> None:
    """Otherwise the report shows broken pictures."""
    pictures = torch.rand(2, channels, 5, 7, generator=seeded(1))
    path = look_at((pictures, torch.zeros(2)), 1, 0, None).write(tmp_path / "one")
    read = np.asarray(Image.open(path))
    expected = (pictures[1] * 255).round().byte().permute(1, 2, 0).numpy()
    assert path.name == "one.png"
    np.testing.assert_array_equal(read.reshape(5, 7, channels), expected)


def test_normalised_pictures_are_stretched_to_what_can_be_seen(tmp_path: Path) -> None:
    """Otherwise a picture less its mean is black."""
    picture = torch.tensor([[[[-2.0, 0.0], [1.0, 2.0]]]])
    read = np.asarray(Image.open(look_at(picture, 0, 0, None).write(tmp_path / "one")))
    assert read.tolist() == [[0, 128], [191, 255]]


def test_sounds_texts_and_numbers(tmp_path: Path) -> None:
    """Otherwise only vision has samples to look at."""
    sound = torch.tensor([[0.0] * 3, [0.0, 2.0, -1.0]])
    path = look_at({"input_values": sound, "labels": torch.zeros(2)}, 1, 0, None).write(tmp_path / "one")
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
        assert np.frombuffer(file.readframes(3), dtype=np.int16).tolist() == [0, 32767, -16384]
    assert look_at({"text": ["good", "bad"], "labels": torch.zeros(2)}, 1, 0, None).content == "bad"
    assert look_at({"input_ids": torch.arange(200).reshape(2, 100)}, 1, 0, None).content.startswith("100 101 102")
    assert look_at((torch.tensor([[0.5, 2.0]]), torch.zeros(1)), 0, 0, None).content == "0.5 2"


def test_the_users_own_way_comes_first(tmp_path: Path) -> None:
    """Otherwise token numbers are all that a reader of texts gets."""
    batch = {"input_ids": torch.tensor([[3, 4]])}
    assert look_at(batch, 0, 0, lambda given, place: f"words of {given['input_ids'][place].tolist()}").content == (
        "words of [3, 4]"
    )
    sound = look_at(batch, 0, 0, lambda given, place: (torch.zeros(4), 8000))
    assert (sound.kind, sound.rate) == ("sound", 8000)
    assert look_at(batch, 0, 0, lambda given, place: torch.zeros(4, 4)).kind == "picture"
    assert look_at(batch, 0, 0, lambda given, place: None) is None
    around = look_at(batch, 0, 1, lambda given, place: lambda position: f"at {given['input_ids'][place, position]}")
    assert around.content == "at 4"
    with pytest.raises(ConfigError, match="show must return"):
        look_at(batch, 0, 0, lambda given, place: 5)
