"""A cache that is read: shards mapped into memory, rows by key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers.cache.columns import check_columns
from knowledge_distillation.teachers.cache.encodings import encoding_from
from knowledge_distillation.teachers.cache.manifest import MANIFEST, SHARDS, read_entries, read_manifest
from knowledge_distillation.teachers.cache.shards import check_length, damage, open_shard


class Cache:
    """A complete cache on the disk. It can be sent to worker processes, which map the shards themselves.

    Args:
        directory: with manifest.json.

    Raises:
        CacheError: if it is unfinished, damaged or of another format; the contents of shards are checked by `verify`.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.manifest = read_manifest(self.directory)
        if not self.manifest["complete"]:
            done = sum(entry["views"] for entry in read_entries(self.directory))
            raise CacheError(
                f"The cache {self.directory} is unfinished: {done} of {self.samples * self.views} views are written. "
                "Write the same cache again to go on where it stopped."
            )
        self._entries = read_entries(self.directory, self.manifest["shards"])
        for entry in self._entries:
            check_length(self._path(entry), entry)
        try:
            self.encodings = {name: encoding_from(dict(spec)) for name, spec in self.manifest["encodings"].items()}
        except (TypeError, ValueError) as error:
            raise CacheError(f"The manifest of {self.directory} names no encoding: {error}. Write it anew.") from error
        self._shards: list[dict[str, Tensor]] = []

    @property
    def samples(self) -> int:
        """Samples in the dataset."""
        return int(self.manifest["samples"])

    @property
    def views(self) -> int:
        """Views of each sample."""
        return int(self.manifest["views"])

    @property
    def signals(self) -> Mapping[str, Mapping[str, Any]]:
        """Name -> {"shape": of one item, "per_token": whether a sample has an item for each of its tokens}."""
        signals: Mapping[str, Mapping[str, Any]] = self.manifest["signals"]
        return signals

    @property
    def bytes(self) -> int:
        """Bytes of all shards."""
        return sum(entry["bytes"] for entry in self._entries)

    @property
    def fingerprint(self) -> str:
        """sha256 of the manifest, and so of every checksum of the cache."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()

    def damage(self) -> Iterator[str]:
        """One line for each damaged block of each shard. Reads everything, two shards at a time."""
        with ThreadPoolExecutor(2) as readers:
            for lines in readers.map(lambda entry: list(damage(self._path(entry), entry)), self._entries):
                yield from lines

    def verify(self) -> None:
        """Raise CacheError, which names shard and offset, if a byte of any shard is another than was written."""
        lines = list(self.damage())
        if lines:
            more = f" And {len(lines) - 1} more damaged places: see `kd cache verify`." if len(lines) > 1 else ""
            raise CacheError(lines[0] + more)

    def column(self, name: str, keys: Sequence[int]) -> Tensor:
        """One number of each view: "seed" or "checksum", int64 [keys]."""
        return self._rows(name, *self._places(keys))

    def gather(self, keys: Sequence[int]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
        """What is stored of these views.

        Returns:
            signal -> array -> its rows one after the other; signal -> tokens of each view, where it is per token.
        """
        shards, rows = self._places(keys)
        arrays: dict[str, dict[str, Tensor]] = {name: {} for name in self.signals}
        counts: dict[str, Tensor] = {}
        for name, facts in self.signals.items():
            if facts["per_token"]:
                counts[name] = self._rows(f"{name}/count", shards, rows)
            for column in self._shards[0]:
                signal, _, array = column.rpartition("/")
                if signal == name and array != "count":
                    take = self._token_rows if facts["per_token"] else self._rows
                    arrays[name][array] = take(column, shards, rows)
        return arrays, counts

    def _places(self, keys: Sequence[int]) -> tuple[Tensor, Tensor]:
        self._open()
        wanted = torch.as_tensor(keys)
        return self._shard_of[wanted], self._row_of[wanted]

    def _rows(self, column: str, shards: Tensor, rows: Tensor) -> Tensor:
        first = int(shards[0])
        if bool((shards == first).all()):
            return self._shards[first][column][rows]
        source = self._shards[first][column]
        taken = torch.empty((len(rows), *source.shape[1:]), dtype=source.dtype)
        for shard in set(shards.tolist()):
            here = shards == shard
            taken[here] = self._shards[shard][column][rows[here]]
        return taken

    def _token_rows(self, column: str, shards: Tensor, rows: Tensor) -> Tensor:
        signal = column.rpartition("/")[0]
        parts = []
        for shard, row in zip(shards.tolist(), rows.tolist(), strict=True):
            ends = self._ends[shard][signal]
            parts.append(self._shards[shard][column][(ends[row - 1] if row else 0) : ends[row]])
        return torch.cat(parts)

    def _open(self) -> None:
        if self._shards:
            return
        total = self.samples * self.views
        shards = [open_shard(self._path(entry), entry) for entry in self._entries]
        for entry, shard in zip(self._entries, shards, strict=True):
            check_columns(self._path(entry), shard, self.signals, total)
        keys = torch.cat([torch.empty(0, dtype=torch.int64), *(shard["key"] for shard in shards)])
        if total > len(keys):  # before there are arrays of a size that the manifest alone tells
            raise self._lacking(keys)
        self._shard_of, self._row_of = (
            torch.full((total,), -1, dtype=torch.int32),
            torch.zeros(total, dtype=torch.int64),
        )
        self._shards = shards
        self._ends = []
        for number, shard in enumerate(self._shards):
            self._shard_of[shard["key"]] = number
            self._row_of[shard["key"]] = torch.arange(len(shard["key"]))
            tokens = {
                name: shard[f"{name}/count"].cumsum(0) for name, facts in self.signals.items() if facts["per_token"]
            }
            self._ends.append(tokens)
        if bool((self._shard_of < 0).any()):
            self._shards = []
            raise self._lacking(keys)

    def _lacking(self, keys: Tensor) -> CacheError:
        """What to say of a cache whose shards hold these views and no others."""
        there, total = torch.unique(keys), self.samples * self.views
        gaps = (there != torch.arange(len(there))).nonzero()
        sample, view = divmod(int(gaps[0]) if len(gaps) else len(there), self.views)
        return CacheError(
            f"The cache {self.directory} lacks {total - len(there)} of {total} views, the first is sample {sample}, "
            f"view {view}: there is no answer to them. Write it anew."
        )

    def _path(self, entry: Mapping[str, Any]) -> Path:
        return self.directory / SHARDS / str(entry["file"])

    def __getstate__(self) -> dict[str, Any]:
        opened = ("_shards", "_ends", "_shard_of", "_row_of")
        return {name: value for name, value in self.__dict__.items() if name not in opened} | {"_shards": []}


def described_cache(directory: str | Path) -> dict[str, Any]:
    """What a cache holds, for people and `kd cache inspect`: also of an unfinished one."""
    home = Path(directory)
    manifest = read_manifest(home)
    entries = read_entries(home, manifest.get("shards"))
    size = sum(entry["bytes"] for entry in entries)
    done = sum(entry["views"] for entry in entries)
    kept = (
        "format",
        "complete",
        "teacher",
        "adapter",
        "temperature",
        "dataset",
        "data",
        "samples",
        "views",
        "encodings",
    )
    return {
        "directory": str(home / MANIFEST)[: -len(MANIFEST) - 1],
        **{name: manifest.get(name) for name in kept},
        "encodings": manifest["encodings"],
        "signals": manifest.get("signals", entries[0]["signals"] if entries else {}),
        "shards": len(entries),
        "views_written": done,
        "bytes": size,
        "bytes_per_view": round(size / done, 1) if done else None,
    }
