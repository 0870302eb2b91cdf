"""Which tensor of a module's output or input a tap reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from knowledge_distillation.errors import CaptureError

Selector = tuple[int | str, ...]
_PATH = re.compile(r"(?P<path>[^\[\]]*)(?P<selector>(?:\[[^\[\]]+\])*)")


def parse(text: str) -> tuple[str, Selector]:
    """Split "encoder.layer.3[1]" into the module's path and the element of its output.

    Args:
        text: a module path or glob, then any number of `[index]` or `[key]`.

    Returns:
        The path without brackets, and the selector: ints for indices, strings for keys or attributes.

    Raises:
        CaptureError: if the brackets do not close, are empty, or stand before the end.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        raise CaptureError(
            f"A tap's path must be names joined by dots, then [index] or [key] at its end, got {text!r}. "
            "Brackets never mean a set of characters here; write 'encoder.layer.3[1]' or 'encoder.layer.*'."
        )
    keys = re.findall(r"\[([^\[\]]+)\]", match["selector"])
    return match["path"], tuple(int(key) if re.fullmatch(r"-?\d+", key) else key for key in keys)


def pick(value: Any, selector: Selector, label: str) -> Tensor:
    """Take one tensor out of what a module returned or received.

    The rule: follow the selector first. A tensor is then taken as it is. Anything else (tuple, list, dict,
    Hugging Face output, named tuple, dataclass) is searched in its own order, depth first, for the first
    tensor with at least one axis; scalars such as a loss are passed over.

    Args:
        value: the module's output, or its inputs.
        selector: from `parse`.
        label: what to call the value in an error.

    Raises:
        CaptureError: if the selector leads nowhere, or there is no tensor.
    """
    chosen = value
    for key in selector:
        chosen = _element(chosen, key, label)
    if isinstance(chosen, Tensor):
        return chosen
    found = _first_tensor(chosen)
    if found is None:
        raise CaptureError(
            f"{label} holds no tensor to read: it is {outline(value)}. Tap a module that returns a tensor, "
            "or name the element: 'path[1]' or 'path[key]'."
        )
    return found


def outline(value: Any) -> str:
    """Say in one line what a value is made of: shapes of tensors, elements of containers."""
    if isinstance(value, Tensor):
        return f"Tensor{list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {outline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(outline(item) for item in value) + ")"
    return "None" if value is None else type(value).__name__


def children(value: Any) -> dict[int | str, Any]:
    """The elements of a container by the key that selects them; empty for anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return {}


def _element(value: Any, key: int | str, label: str) -> Any:
    held = children(value)
    if key in held:
        return held[key]
    if isinstance(key, int) and -len(held) <= key < len(held):
        return list(held.values())[key]
    if isinstance(key, str) and not isinstance(value, Tensor) and hasattr(value, key):
        return getattr(value, key)
    raise CaptureError(
        f"{label} has no element [{key}]: it is {outline(value)}. "
        + (f"Choose one of {list(held)}." if held else "Leave the brackets out.")
    )


def _first_tensor(value: Any) -> Tensor | None:
    for item in children(value).values():
        found = item if isinstance(item, Tensor) else _first_tensor(item)
        if found is not None and found.dim() > 0:
            return found
    return None
