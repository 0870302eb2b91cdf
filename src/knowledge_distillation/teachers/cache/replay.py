"""Views that can be made again: each is the sample as its transforms gave it from one seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def generators_kept() -> Iterator[None]:
    """Give Python's, NumPy's and torch's CPU generators back as they were."""
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)


_numpy: Any = np.random  # whose stubs leave two functions out
_spare: list[np.random.MT19937] = []


@contextmanager
def generators_aside() -> Iterator[None]:
    """The same for code that calls `seed_generators` before it draws: NumPy's generator is exchanged, not copied.

    A copy there and back takes 0.2 ms, longer than many a batch.
    """
    python, numpy, pytorch = random.getstate(), _numpy.get_bit_generator(), torch.get_rng_state()
    other = _spare.pop() if _spare else np.random.MT19937(0)
    _numpy.set_bit_generator(other)
    try:
        yield
    finally:
        random.setstate(python)
        _numpy.set_bit_generator(numpy)
        torch.set_rng_state(pytorch)
        _spare.append(other)


def seed_generators(seed: int) -> None:
    """Set the three generators that transforms draw from; `seed` is any 63-bit number."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def draws() -> tuple[Any, ...]:
    """Where the three generators stand: two equal answers mean that nothing was drawn in between."""
    numpy: Any = np.random.get_state()
    return random.getstate(), numpy[1].tobytes(), numpy[2:], torch.get_rng_state().numpy().tobytes()


def view_seed(seed: int, key: int) -> int:
    """The seed of one view: 63 bits, unrelated from view to view and from one cache's seed to the next."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest(), "little") >> 1
