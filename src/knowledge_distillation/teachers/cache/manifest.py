"""The manifest of a cache: what it holds, of whom, and the digests that say whether it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers.cache.shards import write_whole
from knowledge_distillation.untrusted import check_no_links_out, json_of, text_of, within

FORMAT = 2
MANIFEST = "manifest.json"
SHARDS = "shards"
ENTRY: Mapping[str, type] = {"file": str, "bytes": int, "blocks": list, "views": int, "signals": dict}
"""What stands in the .json file beside a shard."""
PLAN: Mapping[str, type] = {
    "complete": bool, "teacher": str, "temperature": object, "samples": int, "views": int, "encodings": dict,
    "layers": dict,
}  # fmt: skip
WHOLE: Mapping[str, type] = {"data": str, "signals": dict, "shards": dict}
"""What stands in the manifest, and what is added where the cache is complete."""


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
        ConfigError: if a link in the directory leads out of it.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise CacheError(
            f"There is no teacher cache in {directory}: {path.name} is missing. Write one with `kd cache`."
        )
    check_no_links_out(directory)
    try:
        written = text_of(path)
        content: dict[str, Any] = json.loads(written)
        content.pop("digest")
        is_whole = written == _text(content)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CacheError(f"{path} is damaged: {error}. Copy it again, or write the cache anew.") from None
    if content.get("format") != FORMAT:
        raise CacheError(
            f"{path} is of format {content.get('format')!r} and this version reads {FORMAT}: the cache's numbers would "
            "be misread. Use the version that wrote it, or write the cache anew."
        )
    if not is_whole:
        raise CacheError(f"{path} was changed after it was written: its digest is another. Write the cache anew.")
    try:
        _check_form(content, PLAN)
        if content["complete"]:
            _check_form(content, WHOLE)
            _check_signals(content["signals"])
            if content["signals"].keys() != content["encodings"].keys():
                raise ValueError(f"it has the signals {sorted(content['signals'])} and encodings of others")
    except ValueError as error:
        raise CacheError(f"{path} is no manifest of a cache: {error}. Write the cache anew.") from None
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
        path = _within(folder, name)
        if not path.is_file():
            raise CacheError(f"{path} is missing: the cache is not whole. Copy it again, or write it anew.")
        if digests is not None and file_digest(path) != digests[name]:
            raise CacheError(f"{path} was changed after it was written. Copy it again, or write the cache anew.")
        try:
            entry = json_of(path)
            _check_form(entry, ENTRY)
            _check_signals(entry["signals"])
            if entry["file"] != path.with_suffix(".safetensors").name:
                raise ValueError(f"it is about {entry['file']!r}")
        except (OSError, ValueError) as error:  # of an unfinished cache there is no digest to compare
            raise CacheError(f"{path} is damaged: {error}. Write the cache anew, to another directory.") from None
        entries.append(entry)
    return entries


def _within(folder: Path, name: str) -> Path:
    try:
        return within(folder, name)
    except ValueError as error:
        raise CacheError(
            f"The cache {folder.parent} must hold its own files, and {error}: something else would be read as a "
            "teacher's answers. Write the cache anew."
        ) from None


def _check_form(content: Any, form: Mapping[str, type[Any]]) -> None:
    """Raise ValueError unless these entries are there, of these types."""
    if not isinstance(content, dict) or not form.keys() <= content.keys():
        raise ValueError(f"it must have {sorted(form)}")
    for name, kind in form.items():
        value: Any = content[name]
        if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 1)):
            raise ValueError(f"{name} must be a {kind.__name__}{' of at least 1' if kind is int else ''}")


def _check_signals(signals: Mapping[str, Any]) -> None:
    for name, facts in signals.items():
        _check_form(facts, {"shape": list, "per_token": bool})
        if not all(type(size) is int and size >= 0 for size in facts["shape"]):
            raise ValueError(f"the shape of {name!r} must be whole numbers")


def file_digest(path: Path) -> str:
    """sha256 of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text(content: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "digest": digest}, indent=1)
