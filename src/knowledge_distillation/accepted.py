"""What a signature accepts: values from a recipe or a call, against the annotations of what will take them."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

from knowledge_distillation.errors import ConfigError

PLAIN = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text", type(None): "none"}


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Whether a value is an int or float that a float can hold; True and False are no numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is an int; True and False are no numbers."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_whole(name: str, value: Any, least: int = 1, unit: str = "") -> int:
    """Return `value` if it is a whole number of at least `least`, else raise ConfigError naming it and its unit."""
    if not is_whole(value) or value < least:
        raise ConfigError(f"{name} must be a whole number {unit and f'of {unit} '}of at least {least}, got {value!r}.")
    return value


def check_accepted(what: str, taker: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first setting whose value its annotation excludes.

    Otherwise True counts as 1, NaN as a weight and a text as a list of letters, without a word.

    Args:
        what: whose settings they are, for the message.
        taker: function or class; parameters without an annotation take anything.
        settings: name -> value; names that the taker does not have are left to whoever calls it.
    """
    annotations = _annotations(taker)
    for name, value in settings.items():
        if name in annotations and not fits(value, annotations[name]):
            raise ConfigError(f"{what}: {name} must be {said(annotations[name])}, got {value!r}.")


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of an annotation's form, as far as that can be seen; lists stand for tuples, as in YAML."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if kind is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if annotation is float:
        return is_finite_number(value)
    if annotation is int:
        return is_whole(value)
    if kind is tuple:
        return isinstance(value, (list, tuple)) and _entries_fit(value, parts)
    if kind is list:
        return isinstance(value, (list, tuple)) and _all_fit(value, parts[0])
    if kind is Callable:
        return callable(value)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(
            fits(key, parts[0]) and fits(entry, parts[1]) for key, entry in value.items()
        )
    if isinstance(kind, type) and issubclass(kind, Iterable):
        return isinstance(value, kind) and not isinstance(value, (str, bytes)) and _all_fit(value, parts[0])
    if isinstance(annotation, type) and not getattr(annotation, "_is_protocol", False):
        return isinstance(value, annotation)
    return True


def said(annotation: Any) -> str:
    """An annotation in words, such as "a whole number or none"."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Literal:
        return "one of " + ", ".join(map(repr, parts))
    if kind in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(said(part) for part in parts))
    if annotation in PLAIN:
        return PLAIN[annotation]
    if kind is tuple and Ellipsis not in parts:
        return f"{len(parts)} of: {', '.join(said(part) for part in parts)}"
    if kind is Callable:
        return "a function"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "a mapping"
    if isinstance(kind, type) and issubclass(kind, Iterable):
        return f"a list, each {said(parts[0])}" if parts else "a list"
    return f"a {getattr(annotation, '__name__', annotation)}"


def _annotations(taker: Callable[..., Any]) -> Mapping[str, Any]:
    while isinstance(taker, partial):
        taker = taker.func
    try:
        return get_type_hints(taker.__init__ if isinstance(taker, type) else taker)  # type: ignore[misc]
    except Exception:  # a user's function may be annotated with names that are not there at run time
        return {}


def _entries_fit(values: Any, parts: tuple[Any, ...]) -> bool:
    if Ellipsis in parts:
        return _all_fit(values, parts[0])
    return len(values) == len(parts) and all(map(fits, values, parts))


def _all_fit(values: Any, part: Any) -> bool:
    """Entries of something that can be walked again; a stream is left alone."""
    return not isinstance(values, (list, tuple, set, frozenset, range)) or all(fits(value, part) for value in values)
