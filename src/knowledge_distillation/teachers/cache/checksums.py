"""Checksums of samples: CRC-32 over what a model would read of each, everything but its labels and its index."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import split_batch


def inputs_checksum(sample: Any) -> int:
    """The checksum of one sample.

    Args:
        sample: what the dataset gives, in any form that `capture.adapters.auto` understands.
    """
    positional, named, _ = split_batch(sample)
    return _checksum(named or positional, 0)


def batch_checksums(batch: Any, samples: Sequence[Any]) -> list[int] | None:
    """`inputs_checksum` of every sample, counted in the rows of the batch that `default_collate` made of them.

    The rows lie one behind the other, so that no sample is looked through, copied and described for itself.

    Args:
        batch: a stack of tensors [samples, ...], or a tuple, list or mapping of such.
        samples: of which it was made.

    Returns:
        One number a sample; None if an input is anything but a stack of the samples' tensors as they were: of arrays
        or numbers, nested, or of other dtypes.
    """
    if isinstance(batch, Tensor):
        batch, samples = (batch,), [(sample,) for sample in samples]
    if not all(isinstance(sample, (tuple, list, Mapping)) and len(sample) == len(batch) for sample in samples):
        return None  # a mapping's key that the first sample lacks is not in the batch
    positional, named, _ = split_batch(batch)
    checksums = [0] * len(samples)
    for place in sorted(named, key=str) or range(len(positional)):
        stack = batch[place]
        if not _stacked(stack, [sample[place] for sample in samples]):
            return None
        head = f"{place if named else ''}{stack.dtype}{stack.shape[1:]}".encode()
        rows = zip(_content(stack), checksums, strict=True)
        checksums = [zlib.crc32(row, zlib.crc32(head, start)) for row, start in rows]
    if named:
        return checksums
    return [zlib.crc32(str(len(positional)).encode(), start) for start in checksums]


def _stacked(stack: Any, entries: Sequence[Any]) -> bool:
    if not isinstance(stack, Tensor) or not all(isinstance(entry, Tensor) for entry in entries):
        return False
    return {entry.dtype for entry in entries} == {stack.dtype} and stack.shape == (len(entries), *entries[0].shape)


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
