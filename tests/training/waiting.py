"""Find out where code asks the host for a tensor's value, which makes it wait for the device."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import knowledge_distillation

PACKAGE = str(Path(knowledge_distillation.__file__).parent)
METHODS = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__")
OPERATIONS = {
    "_local_scalar_dense", "equal", "nonzero", "masked_select", "is_nonzero", "_unique2", "unique_dim",
    "unique_consecutive", "bincount",
}  # fmt: skip
"""Operations that bring a value to the host, or whose output's size depends on values."""


class _Watch(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = operation.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(entry, Tensor) and entry.dtype in (torch.bool, torch.uint8) for entry in arguments[1] or ()
        )
        sizes = name == "repeat_interleave" and (keywords or {}).get("output_size") is None
        if name in OPERATIONS or by_mask or sizes:
            self.found.append(f"{name} at {_place()}")
        return operation(*arguments, **(keywords or {}))


@contextmanager
def waits() -> Iterator[list[str]]:
    """What asked for a value inside the block, each with the innermost line of the package on the stack."""
    found: list[str] = []
    before = {name: getattr(Tensor, name) for name in METHODS}

    def counted(name: str) -> Any:
        def method(tensor: Tensor, *arguments: Any, **keywords: Any) -> Any:
            found.append(f"{name} at {_place()}")
            return before[name](tensor, *arguments, **keywords)

        return method

    for name in METHODS:
        setattr(Tensor, name, counted(name))
    try:
        with _Watch(found):
            yield found
    finally:
        for name, method in before.items():
            setattr(Tensor, name, method)


def _place() -> str:
    ours = [frame for frame in traceback.extract_stack() if frame.filename.startswith(PACKAGE)]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].line}" if ours else "no line of the package"
