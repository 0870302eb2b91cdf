"""Checkpoints and teacher caches with flipped bits, cut off, and with blocks that are swapped or zeroed."""

from __future__ import annotations

import random
from pathlib import Path

import knowledge_distillation as kd
from benchmarks.cache_damage import (
    BLOCKS,
    Damage,
    Files,
    Place,
    complaint,
    flipped_bit,
    locates,
    swapped_blocks,
    truncation,
    written,
)
from knowledge_distillation.errors import CheckpointError
from knowledge_distillation.training.durable_files import read_checkpoint
from tests.faults.kind import Kind
from tests.faults.place import quiet_place
from tests.training.toys import loader, mlp

FAULTS = 40
FLIPS, CUTS, SWAPS, ZEROS = 250, 6, 2, 2
"""Of each fault, half of them in a cache: 10,000, 240 and 160 in all."""


def zeroed_block(whole: Files, draw: random.Random) -> tuple[Files, list[Place]]:
    """A block of zeros where something else was, as after a power cut on some file systems."""
    while True:
        path, size = draw.choice(list(whole)), draw.choice(BLOCKS)
        start = draw.randrange(len(whole[path]) // size + 1) * size
        content = whole[path]
        block = content[start : start + size]
        if any(block):
            break
    return {path: content[:start] + bytes(len(block)) + content[start + len(block) :]}, [(path, start, start + size)]


DAMAGES: tuple[tuple[Damage, int], ...] = (
    (flipped_bit, FLIPS),
    (truncation, CUTS),
    (swapped_blocks, SWAPS),
    (zeroed_block, ZEROS),
)


def inject(number: int, folder: Path) -> None:
    """Many damages, one at a time, each taken back."""
    draw = random.Random(number)
    home = folder / "cache"
    with quiet_place(folder / "place"):
        cache = written(home)
        quick = {"enable_progress_bar": False, "accelerator": "cpu"}
        run = kd.distill(
            mlp(9), mlp(number), loader(), directory=folder / "run", max_epochs=1, doctor=False, trainer=quick
        )
        checkpoints = {path: path.read_bytes() for path in sorted((run.directory / "checkpoints").glob("*.ckpt"))}
        for damage, count in DAMAGES:
            for place in range(count):
                if place % 2:
                    changed, places = damage(cache, draw)
                    said = complaint(home, cache, changed)
                    assert any(locates(said, *each) for each in places), (damage, places, said)
                else:
                    changed, places = damage(checkpoints, draw)
                    said = refusal(checkpoints, changed)
                    assert any(str(path) in said for path, *_ in places), (damage, places, said)
        assert complaint(home, cache, {}) == ""  # every damage was taken back
        assert refusal(checkpoints, checkpoints) == ""


def refusal(whole: Files, changed: Files) -> str:
    """What reading the checkpoints says that hold something else; "" if one of them is read without a word."""
    said = []
    for path, content in changed.items():
        path.write_bytes(content)
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            said.append(str(error))
        finally:
            path.write_bytes(whole[path])
    return " ".join(said) if len(said) == len(changed) else ""


KIND = Kind(
    title=f"{FLIPS + CUTS + SWAPS + ZEROS} flipped bits, cuts, swapped and zeroed blocks in checkpoints and caches",
    survives="every one is found when the file is read; of a cache, the message names the shard and the offset",
    inject=inject,
    all=FAULTS,
    sample=1,
)
