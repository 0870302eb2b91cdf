"""Find modules of a model by path or glob, whatever the model is wrapped in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from knowledge_distillation.capture.selectors import Selector, parse
from knowledge_distillation.errors import CaptureError, nearest

# The attributes under which torch.compile, FSDP and checkpoint_wrapper keep the module that they wrap.
_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


class Place(NamedTuple):
    """One module to tap: the name that the tensor is kept under, the module, and the element to read."""

    name: str
    module: nn.Module
    selector: Selector


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside torch.compile, DistributedDataParallel, DataParallel and FSDP wrappers."""
    while True:
        attribute = next((name for name in _WRAPPED if isinstance(getattr(model, name, None), nn.Module)), None)
        if isinstance(model, (DistributedDataParallel, DataParallel)):
            attribute = "module"
        if attribute is None:
            return model
        model = getattr(model, attribute)


def modules_by_path(model: nn.Module) -> dict[str, nn.Module]:
    """Every module by its path without wrapper names; a shared module appears under each of its paths.

    Where a wrapper and the module inside it have the same path, the wrapper stands: a hook outside a
    checkpointed or compiled block fires once a forward.
    """
    found: dict[str, nn.Module] = {}
    for path, module in unwrap(model).named_modules(remove_duplicate=False):
        found.setdefault(_clean(path), module)
    return found


def resolve(model: nn.Module, paths: Iterable[str]) -> list[Place]:
    """The modules that paths and globs name.

    Args:
        model: any module, wrapped or not.
        paths: "layer3.1", "" for the model itself, or a glob: `*` and `?` stay within one name, `**` crosses
            dots. Wrapper prefixes ("module.", "_orig_mod.") may be written or left out. A suffix such as
            "[1]" or "[attentions]" chooses an element of the output.

    Returns:
        One place for each plain path, under the name as written; one for each match of a glob, under the
        matched path and the suffix.

    Raises:
        CaptureError: if a path matches nothing, or a module that is never called.
    """
    known = modules_by_path(model)
    places: dict[str, Place] = {}
    for text in paths:
        written, selector = parse(text)
        path = _clean(written)
        # DDP's prefix is dropped only where the path means nothing as written: a child may be called "module".
        matches = _matches(path, known) or _matches(re.sub(r"^module(\.|$)", "", path), known)
        if not matches:
            raise CaptureError(
                f"{text!r} must name a module of {type(unwrap(model)).__name__}, but matches none. "
                f"{nearest(path, (name for name in known if name))}"
            )
        if not is_called(known[matches[0]]):
            inside = [name for name in known if re.fullmatch(re.escape(matches[0]) + r"\.[^.]+", name)]
            raise CaptureError(
                f"{text!r} is a {type(known[matches[0]]).__name__}: it only holds modules and is never called, so a "
                f"tap on it would never fire. Tap what it holds: {', '.join(inside[:8]) or '(nothing)'}."
            )
        suffix = text.removeprefix(written)
        for match in matches:
            name = match + suffix if _is_glob(path) else text
            places[name] = Place(name, known[match], selector)
    if not places:
        raise CaptureError("At least one path must be given to tap; none came.")
    return list(places.values())


def is_called(module: nn.Module) -> bool:
    """Whether a module has a forward of its own; containers such as nn.ModuleList have none."""
    return getattr(type(module), "forward", None) is not nn.Module.forward or "forward" in vars(module)


def _matches(path: str, known: Mapping[str, nn.Module]) -> list[str]:
    if not _is_glob(path):
        return [path] if path in known else []
    pattern = _regex(path)
    return [name for name, module in known.items() if pattern.fullmatch(name) and is_called(module)]


def _is_glob(path: str) -> bool:
    return "*" in path or "?" in path


def _clean(path: str) -> str:
    return ".".join(name for name in path.split(".") if name not in _WRAPPED)


def _regex(glob: str) -> re.Pattern[str]:
    signs = {"**.": r"(?:.*\.)?", "**": ".*", "*": "[^.]*", "?": "[^.]"}
    pieces = re.split(r"(\*\*\.|\*\*|\*|\?)", glob)
    return re.compile("".join(signs.get(piece, re.escape(piece)) for piece in pieces))
