"""Signatures as a reader wants them: aliases written out, one argument a line."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import json
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def signature(name: str, function: Callable[..., Any] | type, *, returns: bool = True) -> str:
    """The call of a function or class with its types and defaults, one argument a line.

    Args:
        name: what to call it.
        function: a function, or a class for its constructor.
        returns: whether to say what comes back.
    """
    init = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    hints = get_type_hints(init)
    lines = []
    keyword_only = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            lines.append("*")
        shown = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "") + parameter.name
        if parameter.name in hints:
            shown += f": {kind(hints[parameter.name])}"
        if parameter.default is not parameter.empty:
            shown += f" = {default(parameter.default)}"
        lines.append(shown)
    result = f" -> {kind(hints['return'])}" if returns and "return" in hints else ""
    if sum(map(len, lines)) + len(name) + len(result) < 70:
        return f"{name}({', '.join(lines)}){result}"
    body = "".join(f"    {line},\n" for line in lines)
    return f"{name}(\n{body}){result}"


def kind(hint: Any) -> str:
    """A type in words of Python, without module names."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is type(None):
        return "None"
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(map(kind, inner)))
    if origin is Literal:
        return " | ".join(map(default, inner))
    if origin is collections.abc.Callable:
        taken = "..." if inner[0] is Ellipsis else f"[{', '.join(map(kind, inner[0]))}]"
        return f"Callable[{taken}, {kind(inner[1])}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join('...' if entry is Ellipsis else kind(entry) for entry in inner)}]"
    return getattr(hint, "__name__", str(hint))


def default(value: Any) -> str:
    """A default as one would write it."""
    if isinstance(value, functools.partial):
        settings = ", ".join(f"{key}={setting!r}" for key, setting in value.keywords.items())
        return f"partial({value.func.__name__}, {settings})"
    if isinstance(value, float):
        return repr(value) if len(repr(value)) < 10 else f"{value:.4g}"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(default, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, types.MappingProxyType):
        return "{" + ", ".join(f"{default(key)}: {default(entry)}" for key, entry in value.items()) + "}"
    if inspect.isfunction(value) or isinstance(value, type):
        return value.__name__
    return repr(value)
