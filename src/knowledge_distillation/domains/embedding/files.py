"""Single files of an embedding model's folder, here or on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import ConfigError, MissingExtraError
from knowledge_distillation.untrusted.plain import json_of


def json_in(place: str, name: str) -> Any:
    """What a JSON file of a folder or of the hub holds; None where there is none.

    Raises:
        ConfigError: if it is no JSON, or there is no such place.
    """
    file = file_in(place, name)
    if file is None:
        return None
    try:
        return json_of(Path(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name} of {place!r} must be JSON, and cannot be read: {error}.") from error


def file_in(place: str, name: str) -> str | None:
    """Where a file of a folder or of the hub lies; None where it has none.

    Raises:
        ConfigError: if there is no such place.
        MissingExtraError: if Transformers is not installed.
    """
    if Path(place).is_dir():
        found = Path(place) / name
        return str(found) if found.is_file() else None
    try:
        from transformers.utils.hub import cached_file
    except ImportError as error:
        raise MissingExtraError(
            "Embedding models need Transformers: pip install 'knowledge-distillation-toolkit[embedding]'"
        ) from error
    try:
        there: str | None = cached_file(place, name, _raise_exceptions_for_missing_entries=False)
    except Exception as error:  # of the network, the hub or the name
        raise ConfigError(
            f"No embedding model can be loaded from {place!r}: {type(error).__name__}: {str(error)[:300]} Name a local "
            "folder, or an id of the Hugging Face hub."
        ) from error
    return there


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file."""
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")
