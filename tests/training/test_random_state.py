"""What goes wrong for a user when a resumed run draws other random numbers."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from knowledge_distillation.training.random_state import random_state, restore_random_state


def draws() -> tuple[float, float, float, float]:
    return random.gauss(0, 1), float(np.random.randn()), float(torch.rand(())), random.random()


def test_every_generator_continues_where_it_was_after_a_safe_round_trip_through_a_file() -> None:
    """Otherwise augmentation, dropout and shuffling differ between a resumed and an uninterrupted run."""
    draws()
    file = io.BytesIO()
    torch.save(random_state(), file)
    expected = [draws() for _ in range(3)]
    draws()
    file.seek(0)
    restore_random_state(torch.load(file, weights_only=True))
    assert [draws() for _ in range(3)] == expected
