"""The manifest of a cache: what it holds, of whom, and the digests that say whether it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers.cache.shards import write_whole

FORMAT = 2
MANIFEST = "manifest.json"
SHARDS = "shards"
ENTRY = {"file", "bytes", "blocks", "views", "signals"}
"""What stands in the .json file beside a shard."""


def write_manifest(directory: Path, content: Mapping[str, Any]) -> None:
    """Write manifest.json with a digest of itself; it is there whole or not at all.

    Raises:
        CacheError: if the disk is full, read-only or fails.
    """
    path = directory / MANIFEST
    try:
        write_whole(path, _text(content))
    except OSError as error:
        raise CacheError(
            f"{path} cannot be written: {error.strerror or error}. Make room or choose another directory, and write "
            "the same cache again to go on where it stopped."
        ) from error


def read_manifest(directory: Path) -> dict[str, Any]:
    """The content of manifest.json.

    Returns:
        "format", "complete", "teacher" (fingerprint), "adapter", "temperature", "dataset" (name), "samples", "views",
        "seed", "encodings" (name -> settings), "layers" (role -> signals); and of a complete cache "data" (fingerprint
        of every view), "signals" (name -> shape, per_token) and "shards" (name -> digest).

    Raises:
        CacheError: if there is none, it was changed, or its format is another than this version's.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise CacheError(
            f"There is no teacher cache in {directory}: {path.name} is missing. Write one with `kd cache`."
        )
    try:
        written = path.read_bytes()
        content: dict[str, Any] = json.loads(written)
        content.pop("digest")
    except (ValueError, KeyError, AttributeError) as error:
        raise CacheError(f"{path} is damaged: {error}. Copy it again, or write the cache anew.") from None
    if content.get("format") != FORMAT:
        raise CacheError(
            f"{path} is of format {content.get('format')!r} and this version reads {FORMAT}: the cache's numbers would "
            "be misread. Use the version that wrote it, or write the cache anew."
        )
    if written != _text(content).encode():
        raise CacheError(f"{path} was changed after it was written: its digest is another. Write the cache anew.")
    return content


def read_entries(directory: Path, digests: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """What the .json files beside the shards say, in the order of their names.

    Args:
        directory: of the cache.
        digests: name of the .json file -> its digest, from the manifest of a complete cache; None reads what is there.

    Raises:
        CacheError: if a file is missing or was changed.
    """
    folder = directory / SHARDS
    names = sorted(path.name for path in folder.glob("*.json")) if digests is None else sorted(digests)
    entries = []
    for name in names:
        path = folder / name
        if not path.is_file():
            raise CacheError(f"{path} is missing: the cache is not whole. Copy it again, or write it anew.")
        if digests is not None and file_digest(path) != digests[name]:
            raise CacheError(f"{path} was changed after it was written. Copy it again, or write the cache anew.")
        try:
            entry = json.loads(path.read_bytes())
            if set(entry) != ENTRY:
                raise ValueError(f"it has {sorted(entry)}")
        except (ValueError, TypeError) as error:  # of an unfinished cache there is no digest to compare
            raise CacheError(f"{path} is damaged: {error}. Write the cache anew, to another directory.") from None
        entries.append(entry)
    return entries


def file_digest(path: Path) -> str:
    """sha256 of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text(content: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "digest": digest}, indent=1)
