"""Whether the arrays of a shard are those that the manifest tells of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import CacheError

KEPT = ("key", "seed", "checksum")
"""One number of each view."""


def check_columns(path: Path, arrays: Mapping[str, Tensor], signals: Mapping[str, Any], total: int) -> None:
    """Raise CacheError unless a shard has a row of every signal for each of its views.

    Args:
        path: of the shard, for the message.
        arrays: by name, as `open_shard` gives them.
        signals: name -> {"shape", "per_token"}, from the manifest.
        total: views of the cache; keys are below it.
    """
    complaint = _complaint(arrays, signals, total)
    if complaint:
        raise CacheError(f"The shard {path} is not of this cache: {complaint}. Write the cache anew.")


def _complaint(arrays: Mapping[str, Tensor], signals: Mapping[str, Any], total: int) -> str:
    for name in KEPT:
        if name not in arrays or arrays[name].dtype != torch.int64 or arrays[name].dim() != 1:
            return f"its {name!r} is no list of whole numbers"
    keys = arrays["key"]
    if any(len(arrays[name]) != len(keys) for name in KEPT):
        return f"{KEPT} are not of one length"
    if len(keys) and (int(keys.min()) < 0 or int(keys.max()) >= total):
        return f"it holds views beyond the {total} that there are"
    for name, facts in signals.items():
        rows = len(keys)
        if facts["per_token"]:
            counts = arrays.get(f"{name}/count")
            if counts is None or counts.dtype != torch.int64 or counts.shape != keys.shape or bool((counts < 0).any()):
                return f"it does not say how many tokens of {name!r} each view has"
            rows = int(counts.sum())
        held = [array for column, array in arrays.items() if column.rpartition("/")[0] == name]
        held = [array for array in held if array is not arrays.get(f"{name}/count")]
        if not held or any(array.dim() == 0 or len(array) != rows for array in held):
            return f"it does not hold {name!r} of each of its {len(keys)} views"
    return ""
