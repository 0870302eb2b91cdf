"""Golden vectors: numbers made by running other people's reference code, and how ours is run against them."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import tests.oracles as package

VENDORED = Path(__file__).parent / "golden"


class Recorded(dict[str, Any]):
    """A dict that remembers which of its keys were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.read.add(key)
        return super().pop(key, *default)

    def items(self) -> Any:
        self.read.update(self)
        return super().items()

    def values(self) -> Any:
        self.read.update(self)
        return super().values()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One golden vector: what goes into a loss, and the value and gradients that must come out."""

    name: str
    loss: str
    """Which formula it is; entries that differ in hyperparameters, shapes or dtypes only share it."""
    file: Path
    tensors: dict[str, Tensor]
    """The inputs by name; those with a golden gradient require grad."""
    hyperparameters: Recorded
    expected: float
    gradients: dict[str, Tensor]
    outputs: dict[str, Tensor]
    """Other tensors that the reference gave, such as an updated memory."""
    tolerance: Mapping[str, float]
    """rtol and atol of the value, grad_rtol and grad_atol of the gradients."""
    notes: str


Runner = Callable[[Entry], Tensor]
Fault = tuple[Runner, str]
"""The nearest that ours has to a peer's faulty loss, and why it must differ."""


def rows(directory: Path = VENDORED) -> list[dict[str, Any]]:
    """The manifest's entries as they stand, no tensor loaded."""
    found: list[dict[str, Any]] = json.loads((directory / "manifest.json").read_text())["entries"]
    return found


def load(row: Mapping[str, Any], directory: Path = VENDORED) -> Entry:
    """One entry of the manifest with fresh tensors."""
    file = directory / row["file"]
    stored = load_file(file)
    tensors = strip("in.", stored)
    for name in row["gradients"]:
        tensors[name].requires_grad_()
    return Entry(
        name=row["name"],
        loss=row["loss"],
        file=file,
        tensors=tensors,
        hyperparameters=Recorded(row["hyperparameters"]),
        expected=float(row["expected"]),
        gradients=strip("grad.", stored),
        outputs=strip("out.", stored),
        tolerance=row["tolerance"],
        notes=row.get("notes", ""),
    )


def strip(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def gather(name: str) -> dict[str, Any]:
    """Merge the dict called `name` of all golden_*.py modules; a key in two of them is an error."""
    merged: dict[str, Any] = {}
    for module in mapping_modules():
        declared: Mapping[str, Any] = getattr(module, name, {})
        twice = merged.keys() & declared.keys()
        assert not twice, (
            f"{module.__name__} maps {sorted(twice)} in {name} again: one place must own each golden loss."
        )
        merged.update(declared)
    return merged


def mapping_modules() -> Iterator[Any]:
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("golden_"):
            yield importlib.import_module(f"{package.__name__}.{info.name}")


def differences(entry: Entry, value: Tensor) -> list[str]:
    """What lies beyond the entry's tolerance: the value and each gradient; empty when all agree."""
    found = []
    atol, rtol = entry.tolerance["atol"], entry.tolerance["rtol"]
    got = float(value.detach())
    if not math.isclose(got, entry.expected, rel_tol=rtol, abs_tol=atol):
        found.append(f"value {got!r}, expected {entry.expected!r} within rtol {rtol:g}, atol {atol:g}")
    if not entry.gradients:
        return found
    if not value.requires_grad:
        return [*found, "the value carries no gradient"]
    names = list(entry.gradients)
    gradients = torch.autograd.grad(value, [entry.tensors[name] for name in names], allow_unused=True)
    atol, rtol = entry.tolerance["grad_atol"], entry.tolerance["grad_rtol"]
    for name, gradient in zip(names, gradients, strict=True):
        expected = entry.gradients[name].double()
        error = (torch.zeros_like(expected) if gradient is None else gradient.double()) - expected
        beyond = ~(error.abs() <= atol + rtol * expected.abs())
        if beyond.any():
            found.append(f"gradient of {name} is off by up to {error.abs().max():.3g} in {int(beyond.sum())} places")
    return found
