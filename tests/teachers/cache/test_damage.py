"""What goes wrong for a user when a disk, a copy or a person changes a cache."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers import CachedTeacher
from knowledge_distillation.teachers.cache import Cache
from knowledge_distillation.teachers.cache.manifest import FORMAT, read_manifest, write_manifest
from knowledge_distillation.teachers.cache.shards import BLOCK
from tests.teachers.cache.samples import small_cache
from tests.training.toys import mlp


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of several shards, some of several blocks."""
    home = small_cache(tmp_path_factory.mktemp("damage"), mlp(), count=6000, shard_bytes=3 * BLOCK // 2)
    assert len(list(home.glob("shards/*.safetensors"))) > 1
    assert max(path.stat().st_size for path in home.glob("shards/*.safetensors")) > BLOCK
    return home


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "cache"))


def complaint(cache: Path) -> str:
    with pytest.raises(CacheError) as caught:
        CachedTeacher(cache)
    return str(caught.value)


def named_range(text: str) -> tuple[int, int]:
    found = re.search(r"between the offsets (\d+) and (\d+)", text)
    assert found, text
    return int(found[1]), int(found[2])


def shards(cache: Path) -> list[Path]:
    return sorted(cache.glob("shards/*.safetensors"))


def flipped(path: Path, offset: int, bit: int) -> Iterator[None]:
    with path.open("r+b", buffering=0) as file:
        for _ in range(2):  # there, and back again
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ (1 << bit)]))
            yield


def test_ten_thousand_flipped_bits_are_all_found_where_they_are(cache: Path) -> None:
    """A bit flipped by a disk or a cable would teach a wrong answer, and nobody would ever know."""
    draw = random.Random(0)
    files = [path for path in cache.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files]
    for _ in range(10_000):
        (path,) = draw.choices(files, sizes)
        offset = draw.randrange(path.stat().st_size)
        flip = flipped(path, offset, draw.randrange(8))
        next(flip)
        text = complaint(cache)
        assert str(path) in text or str(path.parent) in text
        if path.suffix == ".safetensors":
            start, end = named_range(text)
            assert path.name in text
            assert start <= offset < end
        next(flip)
    CachedTeacher(cache)  # every flip was taken back


def test_two_hundred_truncations_are_all_found(cache: Path) -> None:
    """A copy that broke off leaves a file that opens, and answers for the samples at its end that are not theirs."""
    draw = random.Random(1)
    for _ in range(200):
        path = draw.choice([*shards(cache), *cache.glob("shards/*.json"), cache / "manifest.json"])
        content = path.read_bytes()
        length = draw.randrange(len(content))
        path.write_bytes(content[:length])
        text = complaint(cache)
        assert path.name in text
        if path.suffix == ".safetensors":
            assert f"at or after offset {length}" in text
        path.write_bytes(content)
    CachedTeacher(cache)


def test_fifty_swapped_blocks_are_all_found(cache: Path) -> None:
    """Blocks in another order keep every byte and the length: only where they stand is wrong."""
    draw = random.Random(2)
    path = max(shards(cache), key=lambda shard: shard.stat().st_size)
    content = path.read_bytes()
    for _ in range(50):
        size = draw.choice([64, 512, 4096])
        first, second = sorted(draw.sample(range(0, len(content) - size, size), 2))
        changed = bytearray(content)
        changed[first : first + size], changed[second : second + size] = (
            content[second : second + size],
            content[first : first + size],
        )
        if changed == content:
            continue
        path.write_bytes(changed)
        text = complaint(cache)
        start, end = named_range(text)
        assert path.name in text
        assert start < first + size
        assert first < end or second < end
        path.write_bytes(content)
    CachedTeacher(cache)


def test_a_zeroed_block_a_missing_and_a_strange_shard_are_found(cache: Path) -> None:
    """The three other things that happen to files."""
    first, second = shards(cache)[:2]
    content = first.read_bytes()
    first.write_bytes(content[:100] + bytes(400) + content[500:])
    assert named_range(complaint(cache))[0] == 0
    first.write_bytes(second.read_bytes())
    assert first.name in complaint(cache)
    first.unlink()
    assert f"{first} is missing" in complaint(cache)
    first.write_bytes(content)
    (cache / "manifest.json").unlink()
    assert "no teacher cache" in complaint(cache)


def test_every_damaged_place_is_listed(cache: Path) -> None:
    """`kd cache verify` must say how much of a cache is lost, not only where it begins."""
    for path in shards(cache)[:2]:
        content = bytearray(path.read_bytes())
        content[200] ^= 1
        path.write_bytes(content)
    lines = list(Cache(cache).damage())
    assert [path.name in line for path, line in zip(shards(cache)[:2], lines, strict=True)] == [True, True]


def test_a_cache_of_another_version_is_refused(cache: Path) -> None:
    """Numbers of another format would be read as something else."""
    manifest = cache / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT - 1}'))
    assert f"format {FORMAT - 1} and this version reads {FORMAT}" in complaint(cache)
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    with pytest.raises(CacheError, match=f"this version reads {FORMAT}"):
        small_cache(cache, mlp(), count=6000, shard_bytes=3 * BLOCK // 2)
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


def test_a_view_that_is_not_there_is_named(cache: Path) -> None:
    """Otherwise the answer to another sample stands in its place."""
    content = read_manifest(cache)
    write_manifest(cache, {**content, "samples": content["samples"] + 2})
    with pytest.raises(CacheError, match="lacks 2 of 6002 views, the first is sample 6000, view 0"):
        Cache(cache).column("seed", [0])
