"""Is damage to a teacher cache found, and where? Bits flipped, files cut off and blocks swapped, one at a time.

Each damage is done to a whole cache of several shards, which is then opened as a training opens it, and taken back.
Found is what makes opening raise a `CacheError`; located, what its message names: the file, and in a shard the offset,
to the 64 KiB that share a checksum.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.report import progress
from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers import CachedTeacher, write_cache
from knowledge_distillation.teachers.cache.shards import BLOCK

Files = Mapping[Path, bytes]
Place = tuple[Path, int, int]
"""A file, and the offsets of the first byte that differs and behind the last."""
Damage = Callable[[Files, random.Random], tuple[Files, list[Place]]]
"""Whole files -> other contents of some of them, and the places that differ."""

SAMPLES = 6000
BLOCKS = (64, 512, 4096)
"""Bytes of a block that changes its place."""
LISTED = 5
"""Damages of each kind that are shown, if they are not located."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flips", type=int, default=10_000, help="of one bit, anywhere in the cache")
    parser.add_argument("--truncations", type=int, default=200, help="of one file, at any length")
    parser.add_argument("--swaps", type=int, default=50, help="of two blocks of shards")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    kinds: dict[str, tuple[int, Damage]] = {
        "flipped_bits": (arguments.flips, flipped_bit),
        "truncations": (arguments.truncations, truncation),
        "swapped_blocks": (arguments.swaps, swapped_blocks),
    }
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        whole = written(home)
        rows = {name: counted(home, whole, *kind, name) for name, kind in kinds.items()}
        CachedTeacher(home)  # every damage was taken back
    return {
        **{number: sum(row[number] for row in rows.values()) for number in ("injected", "found", "located")},
        "rows": rows,
        "bytes": {path.name: len(content) for path, content in whole.items()},
        "figure": "counts; located: the message names the file, and in a shard the offset to 64 KiB",
    }


def written(home: Path) -> Files:
    """A new cache of several shards, one of them of several blocks."""
    torch.manual_seed(0)
    rows = TensorDataset(torch.randn(SAMPLES, 5), torch.zeros(SAMPLES))
    write_cache(nn.Linear(5, 3), DataLoader(rows, 100), home, {"logits": "float32"}, shard_bytes=3 * BLOCK // 2)
    return {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def flipped_bit(whole: Files, draw: random.Random) -> tuple[Files, list[Place]]:
    (path,) = draw.choices(list(whole), [len(content) for content in whole.values()])
    content = bytearray(whole[path])
    offset = draw.randrange(len(content))
    content[offset] ^= 1 << draw.randrange(8)
    return {path: bytes(content)}, [(path, offset, offset + 1)]


def truncation(whole: Files, draw: random.Random) -> tuple[Files, list[Place]]:
    path = draw.choice(list(whole))
    length = draw.randrange(len(whole[path]))
    return {path: whole[path][:length]}, [(path, length, length + 1)]


def swapped_blocks(whole: Files, draw: random.Random) -> tuple[Files, list[Place]]:
    """Within one shard or between two (one file or two, where there are no shards); never two that hold the same."""
    shards = [path for path in whole if is_shard(path)] or list(whole)
    while True:
        size = draw.choice(BLOCKS)
        places = [(path, draw.randrange(len(whole[path]) // size) * size) for path in draw.choices(shards, k=2)]
        blocks = [whole[path][start : start + size] for path, start in places]
        if blocks[0] != blocks[1] and len(blocks[0]) == len(blocks[1]):
            break
    changed = {path: bytearray(whole[path]) for path, _ in places}
    for (path, start), block in zip(places, reversed(blocks), strict=True):
        changed[path][start : start + size] = block
    return (
        {path: bytes(content) for path, content in changed.items()},
        [(path, start, start + size) for path, start in places],
    )


def counted(home: Path, whole: Files, count: int, damage: Damage, name: str) -> dict[str, Any]:
    """Damage the cache so many times."""
    draw = random.Random(name)
    found, missed = 0, []
    for _ in range(count):
        changed, places = damage(whole, draw)
        said = complaint(home, whole, changed)
        found += bool(said)
        if not any(locates(said, *place) for place in places):
            missed.append({"places": [(path.name, *where) for path, *where in places], "said": said})
    row = {"injected": count, "found": found, "located": count - len(missed), "missed": missed[:LISTED]}
    progress(f"{name}: {row}")
    return row


def complaint(home: Path, whole: Files, changed: Files) -> str:
    """What opening the cache says while some of its files hold something else; "" if nothing."""
    for path, content in changed.items():
        path.write_bytes(content)
    try:
        CachedTeacher(home)
    except CacheError as error:
        return str(error)
    finally:
        for path in changed:
            path.write_bytes(whole[path])
    return ""


def locates(said: str, path: Path, start: int, end: int) -> bool:
    """Whether a message names the file, and in a shard a range of offsets that holds a damaged byte."""
    if str(path) not in said or not is_shard(path):
        return str(path) in said
    if cut := re.search(r"at or after offset (\d+)\.", said):
        return int(cut[1]) == start
    block = re.search(r"between the offsets (\d+) and (\d+):", said)
    return block is not None and int(block[1]) < end and start < int(block[2]) <= int(block[1]) + BLOCK


def is_shard(path: Path) -> bool:
    return path.suffix == ".safetensors"
