"""What an earlier attempt at a cache has written, and whether it can be gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers.cache.manifest import MANIFEST, SHARDS, read_entries, read_manifest
from knowledge_distillation.teachers.cache.replay import view_seed
from knowledge_distillation.teachers.cache.sampling import make_views
from knowledge_distillation.teachers.cache.shards import damage, open_shard

LOOKED_AT = 16
"""Views of an unfinished cache that are made again before it goes on, to see that the data are the same."""


def views_done(home: Path, plan: Mapping[str, Any]) -> dict[int, int]:
    """Key -> checksum of every view that an earlier attempt at the same cache has written.

    Raises:
        CacheError: if it is another cache, or damaged.
    """
    if not (home / MANIFEST).exists():
        return {}
    found = read_manifest(home)
    differing = [name for name in plan if name != "complete" and found.get(name) != plan[name]]
    if differing:
        was, now = ({name: content.get(name) for name in differing} for content in (found, plan))
        raise CacheError(
            f"{home} holds another cache: {differing} differ, {was} there and {now} now. It is left as it is; choose "
            "another directory."
        )
    entries = read_entries(home, found.get("shards"))
    for entry in entries:
        for line in damage(home / SHARDS / entry["file"], entry):
            raise CacheError(line)  # the keys of a damaged shard would say that other views are there
    return checksums(home, entries)


def checksums(home: Path, entries: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Key -> checksum of every view in these shards."""
    found: dict[int, int] = {}
    for entry in entries:
        shard = open_shard(home / SHARDS / entry["file"], entry)
        found.update(zip(shard["key"].tolist(), shard["checksum"].tolist(), strict=True))
    return found


def check_same_data(home: Path, dataset: Dataset[Any], done: Mapping[int, int], plan: Mapping[str, Any]) -> None:
    """Raise CacheError if a view that was written is another now; some of them are made again."""
    views = plan["views"]
    keys = sorted(done)[:: max(1, len(done) // LOOKED_AT)]
    for view in make_views(dataset, keys, [view_seed(plan["seed"], key) for key in keys], views):
        if view.checksum != done[view.key]:
            raise CacheError(
                f"Sample {view.key // views}, view {view.key % views}, is not what the teacher saw when the cache "
                f"{home} was begun: other data, another tokenizer, or a changed transform. One half would answer to "
                "other inputs than the other. It is left as it is; choose another directory."
            )


def data_fingerprint(seen: Mapping[int, int]) -> str:
    """sha256 over the checksums of all views, in the order of their keys."""
    return hashlib.sha256(torch.tensor([seen[key] for key in sorted(seen)]).numpy().tobytes()).hexdigest()
