"""Which modules of a model can be tapped, and what each returns for one example batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from torch import Tensor, nn

from knowledge_distillation.capture.calls import call, undisturbed
from knowledge_distillation.capture.paths import modules_by_path, unwrap
from knowledge_distillation.capture.selectors import children, pick
from knowledge_distillation.errors import CaptureError


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One module that the example's forward calls."""

    path: str
    kind: str
    """The module's class."""
    calls: int
    """How often one forward calls it."""
    shape: tuple[int, ...]
    """What `taps[path]` has in the last call; empty when the output holds no tensor, or a scalar."""
    outputs: str
    """The whole output; where it has several elements, each with the brackets that select it."""
    parameters: int
    """Numbers in its parameters, sub-modules included."""


class Description(Sequence[Point]):
    """The points of a model in the order in which they finish; prints as a table."""

    def __init__(self, title: str, points: Sequence[Point]) -> None:
        self.title = title
        self.points = tuple(points)

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Point, ...]: ...
    def __getitem__(self, index: int | slice) -> Point | tuple[Point, ...]:
        return self.points[index]

    def __len__(self) -> int:
        return len(self.points)

    def __str__(self) -> str:
        rows = [(p.path or "(the model)", p.kind, str(p.calls), p.outputs, f"{p.parameters:,}") for p in self.points]
        return f"{self.title}\n{table(('path', 'module', 'calls', 'output', 'parameters'), rows)}"

    def __repr__(self) -> str:
        return f"<{self.title}>"


def describe(model: nn.Module, example: Any, *, show: bool = True) -> Description:
    """List every module that can be tapped, with the shapes it gives for one example batch.

    The model is called once, in eval mode without gradient; its modes, statistics and the random state are left
    as they were.

    Args:
        model: any module; torch.compile, DDP and FSDP wrappers are looked through.
        example: a tensor; a tuple or list of positional inputs, whose last entry is taken for the labels and left
            out if forward takes one input fewer; or a mapping of keyword inputs, of which those that forward does
            not know are left out.
        show: write the table to standard output.

    Returns:
        The points in the order in which they finish; `print` shows the table.

    Example:
        >>> import torch
        >>> _ = describe(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()), torch.ones(4, 2))
        Sequential: 3 points to tap
        path         module      calls  output  parameters
        0            Linear      1      [4, 3]  9
        1            ReLU        1      [4, 3]  0
        (the model)  Sequential  1      [4, 3]  9
    """
    inner = unwrap(model)
    paths = paths_by_module(inner)
    points: dict[str, Point] = {}

    def read(module: nn.Module, output: Any) -> None:
        path = paths[module]
        calls = points.pop(path).calls + 1 if path in points else 1
        points[path] = Point(
            path=path,
            kind=type(module).__name__,
            calls=calls,
            shape=tuple(default.shape) if (default := default_tensor(output)) is not None else (),
            outputs=_elements(output),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
        )

    probe(inner, example, read)
    found = Description(f"{type(inner).__name__}: {len(points)} points to tap", list(points.values()))
    if show:
        sys.stdout.write(f"{found}\n")
    return found


def probe(model: nn.Module, example: Any, read: Callable[[nn.Module, Any], None]) -> Any:
    """Call the model once, undisturbed, and `read(module, output)` after each module's call; returns the output."""
    handles = []
    try:
        for module in paths_by_module(model):
            handles.append(module.register_forward_hook(lambda module, _, output: read(module, output)))
        with undisturbed(model):
            return call(model, example)
    finally:
        for handle in handles:
            handle.remove()


def paths_by_module(model: nn.Module) -> dict[nn.Module, str]:
    """The path of every module; the first one for a module with several."""
    paths: dict[nn.Module, str] = {}
    for path, module in modules_by_path(model).items():
        paths.setdefault(module, path)
    return paths


def default_tensor(output: Any) -> Tensor | None:
    """What a tap without brackets reads; None when there is nothing to read."""
    try:
        return pick(output, (), "The output")
    except CaptureError:
        return None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, the columns aligned."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows])
    return "\n".join(line.rstrip() for line in lines)


def _elements(output: Any, selector: str = "") -> str:
    return "; ".join(f"{selector} {list(tensor.shape)}".strip() for selector, tensor in _tensors(output, selector))


def _tensors(output: Any, selector: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        yield selector, output
    for key, item in children(output).items():
        yield from _tensors(item, f"{selector}[{key}]")
