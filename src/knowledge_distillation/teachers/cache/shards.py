"""One shard of a cache: arrays in a safetensors file, and beside it the checksums of its blocks."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from knowledge_distillation.errors import CacheError

BLOCK = 64 * 1024
"""Bytes that share a checksum; a damaged byte is located this closely."""
SAFETENSORS = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int8: "I8", torch.uint8: "U8",
    torch.int32: "I32", torch.int64: "I64",
}  # fmt: skip
DTYPES = {name: dtype for dtype, name in SAFETENSORS.items()}


def write_shard(path: Path, arrays: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write arrays to a file that is there whole or not at all.

    Args:
        path: of the .safetensors file; {"file", "bytes", "blocks", **facts} goes to the same name with .json, last.
        arrays: by name, of the dtypes in `SAFETENSORS`, on the CPU.
        facts: plain data.

    Raises:
        CacheError: if the disk is full, read-only or fails; nothing of this shard is left then.
    """
    widest_first = dict(sorted(arrays.items(), key=lambda item: -item[1].element_size()))  # so all are aligned
    parts = [_header(widest_first), *map(_bytes_of, widest_first.values())]
    unfinished = path.with_suffix(".unfinished")
    try:
        path.parent.mkdir(exist_ok=True)
        with ThreadPoolExecutor(1) as checker, unfinished.open("wb") as file:
            blocks = checker.submit(lambda: list(_checksums(parts)))  # both let go of the interpreter lock
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            entry = {"file": path.name, "bytes": sum(map(len, parts)), "blocks": blocks.result(), **facts}
        unfinished.replace(path)
        write_whole(path.with_suffix(".json"), json.dumps(entry))
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise CacheError(
            f"The shard {path} cannot be written: {error.strerror or error}. The shards before it are whole; make room "
            "or choose another directory, and write the same cache again to go on where it stopped."
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is there whole or not at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def open_shard(path: Path, entry: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arrays of a shard, mapped into memory: a row is read from the disk when it is looked at.

    Args:
        path: of the .safetensors file.
        entry: its checksums, from `write_shard`.

    Raises:
        CacheError: if the file is missing, has another length, or is not what `write_shard` writes.
    """
    check_length(path, entry)
    try:
        with safe_open(str(path), framework="numpy"):  # looks at the header: its length, shapes, gaps and overlaps
            pass
        content = np.memmap(path, dtype=np.uint8, mode="c")
        length = int.from_bytes(content[:8].tobytes(), "little")
        return _arrays(content, length, json.loads(content[8 : 8 + length].tobytes()))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CacheError(
            f"The shard {path} is no shard of a cache ({type(error).__name__}: {error}). Write the cache anew."
        ) from error


def _arrays(content: np.memmap[Any, Any], length: int, header: Mapping[str, Any]) -> dict[str, Tensor]:
    arrays = {}
    for name, facts in header.items():
        start, end = (8 + length + offset for offset in facts["data_offsets"])
        arrays[name] = torch.from_numpy(content[start:end]).view(DTYPES[facts["dtype"]]).view(facts["shape"])
    return arrays


def check_length(path: Path, entry: Mapping[str, Any]) -> None:
    """Raise CacheError if a shard is missing, cut off or longer than it was."""
    if not path.is_file():
        raise CacheError(f"The shard {path} is missing. Write the cache anew, or copy it again with all its files.")
    length = path.stat().st_size
    if length != entry["bytes"]:
        raise CacheError(
            f"The shard {path} must have {entry['bytes']} bytes and has {length}: it was changed at or after offset "
            f"{min(length, entry['bytes'])}. Copy it again, or write the cache anew."
        )


def damage(path: Path, entry: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a shard: one line for each damaged block, with its offset. Reads the whole file."""
    try:
        check_length(path, entry)
    except CacheError as error:
        yield str(error)
        return
    content = np.memmap(path, dtype=np.uint8, mode="r")
    for number, expected in enumerate(entry["blocks"]):
        block = content[number * BLOCK : (number + 1) * BLOCK]
        if zlib.crc32(block.data) != expected:
            yield (
                f"The shard {path} is damaged between the offsets {number * BLOCK} and "
                f"{number * BLOCK + len(block)}: its checksum is another. Copy it again, or write the cache anew."
            )


def _header(arrays: Mapping[str, Tensor]) -> memoryview:
    """The head of a safetensors file; its length is a multiple of 8, so that arrays of any dtype can be mapped."""
    facts, offset = {}, 0
    for name, array in arrays.items():
        size = array.numel() * array.element_size()
        offsets = [offset, offset + size]
        facts[name] = {"dtype": SAFETENSORS[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        offset += size
    text = json.dumps(facts).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def _bytes_of(array: Tensor) -> memoryview:
    return array.contiguous().view(-1).view(torch.uint8).numpy().data


def _checksums(parts: list[memoryview]) -> Iterator[int]:
    """CRC-32 of every block of the parts set one after the other."""
    checksum, left = 0, BLOCK
    for part in parts:
        start = 0
        while start < len(part):
            piece = part[start : start + left]
            checksum = zlib.crc32(piece, checksum)
            start, left = start + len(piece), left - len(piece)
            if not left:
                yield checksum
                checksum, left = 0, BLOCK
    if left < BLOCK:
        yield checksum
