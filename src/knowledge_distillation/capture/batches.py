"""Walk through a batch, whatever tuples, lists and dicts it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor


def map_leaves(batch: Any, change: Callable[[Any], Any]) -> Any:
    """Change what a batch holds and keep its form.

    Args:
        batch: leaves in any nesting of tuples, named tuples, lists and mappings. A leaf is a tensor, a tuple or list
            that holds neither tensors nor containers (file names, say), or anything else.
        change: leaf -> what stands in its place; it may return the leaf itself.

    Returns:
        The batch in the same form, mappings as dicts; a container in which nothing changed is handed on as it is.
    """
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        named = {key: map_leaves(value, change) for key, value in batch.items()}
        return named if _differ(named.values(), batch.values()) else batch
    if isinstance(batch, (tuple, list)) and any(isinstance(entry, (Tensor, Mapping, tuple, list)) for entry in batch):
        entries = [map_leaves(entry, change) for entry in batch]
        if not _differ(entries, batch):
            return batch
        return type(batch)(*entries) if hasattr(batch, "_fields") else type(batch)(entries)
    return change(batch)


def _differ(some: Iterable[Any], others: Iterable[Any]) -> bool:
    return any(one is not other for one, other in zip(some, others, strict=True))
