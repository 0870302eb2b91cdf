"""Views that can be made again: each is the sample as its transforms gave it from one seed."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import split_batch


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


def draws() -> bytes:
    """Where the three generators stand: two equal answers mean that nothing was drawn in between."""
    numpy: Any = np.random.get_state()
    state = f"{random.getstate()[1]}{numpy[2:]}".encode()
    return state + bytes(numpy[1].tobytes()) + bytes(torch.get_rng_state().numpy().tobytes())


def view_seed(seed: int, key: int) -> int:
    """The seed of one view: 63 bits, unrelated from view to view and from one cache's seed to the next."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest(), "little") >> 1


def inputs_checksum(sample: Any) -> int:
    """CRC-32 over what a model would read of a sample: everything but its labels and its index.

    Args:
        sample: what the dataset gives, in any form that `capture.adapters.auto` understands.
    """
    positional, named, _ = split_batch(sample)
    return _checksum(named or positional, 0)


def _checksum(value: Any, start: int) -> int:
    if isinstance(value, Tensor):
        return zlib.crc32(_content(value), zlib.crc32(f"{value.dtype}{value.shape}".encode(), start))
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            start = _checksum(value[key], zlib.crc32(str(key).encode(), start))
        return start
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if value and all(isinstance(entry, (bool, int, float)) for entry in value):
            return zlib.crc32(np.asarray(value).tobytes(), start)
        for entry in value:
            start = _checksum(entry, start)
        return zlib.crc32(str(len(value)).encode(), start)
    if isinstance(value, (str, bytes)):
        return zlib.crc32(value if isinstance(value, bytes) else value.encode(), start)
    if value is None or isinstance(value, (bool, int, float)):
        return zlib.crc32(repr(value).encode(), start)
    array = np.ascontiguousarray(value)  # an image, a NumPy array or scalar
    start = zlib.crc32(f"{array.dtype}{array.shape}".encode(), start)
    return zlib.crc32(array.tobytes() if array.dtype != object else repr(value).encode(), start)


def _content(tensor: Tensor) -> Any:
    plain = tensor.detach().cpu()
    if plain.dtype == torch.bfloat16:  # NumPy has none
        plain = plain.view(torch.int16)
    return np.ascontiguousarray(plain.numpy())
