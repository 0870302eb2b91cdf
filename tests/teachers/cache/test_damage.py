"""What goes wrong for a user when a disk, a copy or a person changes a cache."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers import CachedTeacher
from knowledge_distillation.teachers.cache import Cache
from knowledge_distillation.teachers.cache.manifest import FORMAT, read_manifest, write_manifest
from knowledge_distillation.teachers.cache.shards import BLOCK
from tests.benchmarks.asked import run
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


def unfinished(cache: Path) -> None:
    """As an interruption after the last shard leaves it."""
    late = ("data", "signals", "shards")
    content = {name: value for name, value in read_manifest(cache).items() if name not in late}
    write_manifest(cache, {**content, "complete": False})


@pytest.fixture(scope="module")
def injected() -> dict[str, Any]:
    """What `python -m benchmarks cache_damage` counts, which flips 10,000 bits unless it is told otherwise."""
    rows: dict[str, Any] = run("cache_damage", "--flips", "2000")["rows"]
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"),
    [
        # a bit flipped by a disk or a cable would teach a wrong answer, and nobody would ever know
        ("flipped_bits", 2000),
        # a copy that broke off leaves a file that opens, and other answers stand for the samples at its end
        ("truncations", 200),
        # blocks in another order keep every byte and the length: only where they stand is wrong
        ("swapped_blocks", 50),
    ],
)
def test_all_damage_is_found_where_it_is(injected: dict[str, Any], kind: str, count: int) -> None:
    """Otherwise the student learns from what a disk, a cable or a copy made of the teacher's answers."""
    assert injected[kind] == {"injected": count, "found": count, "located": count, "missed": []}


def test_damage_that_is_not_looked_for_is_counted_as_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the counts above would be full whatever the cache does."""
    monkeypatch.setattr(Cache, "verify", lambda cache: None)
    rows = run("cache_damage", "--flips", "40", "--truncations", "10", "--swaps", "5")["rows"]
    assert rows["flipped_bits"]["found"] < 10
    assert rows["flipped_bits"]["located"] <= rows["flipped_bits"]["found"]
    assert rows["truncations"]["located"] == 10  # lengths are compared in any case
    assert (rows["swapped_blocks"]["found"], len(rows["swapped_blocks"]["missed"])) == (0, 5)


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


@pytest.mark.parametrize("complete", [True, False])
def test_a_damaged_cache_is_not_gone_on_with(cache: Path, complete: bool) -> None:
    """A flipped bit in a sample's number looks like a view that is missing, and would be written into a whole cache."""
    if not complete:
        unfinished(cache)
    path, number = shards(cache)[0], (6).to_bytes(8, "little")
    content = path.read_bytes()
    path.write_bytes(content.replace(number, (7).to_bytes(8, "little"), 1))
    assert path.read_bytes() != content
    before = {file: file.read_bytes() for file in cache.rglob("*") if file.is_file()}
    with pytest.raises(CacheError, match=rf"{path.name} is damaged between the offsets 0 and {BLOCK}"):
        small_cache(cache, mlp(), count=6000, shard_bytes=3 * BLOCK // 2)
    assert {file: file.read_bytes() for file in cache.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"file": "0000-000000.safetensors"'])
def test_a_broken_note_beside_a_shard_of_an_unfinished_cache_is_named(cache: Path, text: str) -> None:
    """There is no digest of it yet, and the error would come from the inside of a JSON reader."""
    unfinished(cache)
    note = shards(cache)[0].with_suffix(".json")
    note.write_text(text)
    with pytest.raises(CacheError, match=f"{note.name} is damaged"):
        small_cache(cache, mlp(), count=6000, shard_bytes=3 * BLOCK // 2)
