"""Trace a student with torch.export, with axes that vary; name the module where it fails."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ExportError
from knowledge_distillation.export.calls import Input, Plain, check_known

Axes = Mapping[int, str]
"""Axis -> its name; the axis may have any size."""
FIXED_LENGTH = "The student fixes the length of its sequences: the artefact takes the example's only."
BATCH, SEQUENCE = "batch", "sequence"


def dynamic_axes(
    inputs: Sequence[Input], tensors: Sequence[Tensor], given: Mapping[str, Axes] | None
) -> list[dict[int, str]]:
    """Which axes of each input may vary.

    Args:
        inputs: with the names that `given` uses.
        tensors: an example of each.
        given: input's name -> its varying axes; wins over the rule: the first axis where it has the size of the first
            input's ("batch"), and the second of whole-number or true/false inputs of two axes, such as token ids and
            their mask ("sequence"), and of what has the shape of such a mask, such as recordings.

    Raises:
        ConfigError: if a name is unknown.
    """
    check_known(list(given or {}), inputs, "dynamic")
    rows = next((tensor.shape[0] for tensor in tensors if tensor.dim()), 0)
    tokens = [tensor for tensor in tensors if _of_tokens(tensor)]
    found = []
    for entry, tensor in zip(inputs, tensors, strict=True):
        axes: dict[int, str] = {}
        if tensor.dim() and tensor.shape[0] == rows:
            axes[0] = BATCH
        masked = tensor.dim() == 2 and any(tensor.shape == other.shape for other in tokens)
        if (_of_tokens(tensor) or masked) and tensor.shape[1] == tokens[0].shape[1] > 1:
            axes[1] = SEQUENCE
        found.append(dict((given or {}).get(entry.name, axes)))
    return found


def other_sizes(tensors: Sequence[Tensor], axes: Sequence[Mapping[int, str]]) -> Iterator[list[Tensor]]:
    """The example with one row, with one row more, and with one token fewer, where these axes vary."""
    if any(0 in vary for vary in axes):
        rows = next(tensor.shape[0] for tensor, vary in zip(tensors, axes, strict=True) if 0 in vary)
        for count in (1, rows + 1):
            chosen = torch.arange(count) % rows
            yield [tensor[chosen] if 0 in vary else tensor for tensor, vary in zip(tensors, axes, strict=True)]
    if any(SEQUENCE in vary.values() for vary in axes):
        yield [
            tensor[:, :-1] if vary.get(1) == SEQUENCE else tensor for tensor, vary in zip(tensors, axes, strict=True)
        ]


def answered_axes(
    plain: Plain, tensors: Sequence[Tensor], axes: Sequence[dict[int, str]], notes: list[str]
) -> list[dict[int, str]]:
    """The varying axes that the student itself can vary.

    Raises:
        FixedAxisError: if it answers no other batch size.
    """
    kept = [{axis: name for axis, name in vary.items() if name != SEQUENCE} for vary in axes]
    with torch.no_grad():
        try:
            for changed in other_sizes(tensors, kept):
                plain(*changed)
        except Exception as error:
            raise FixedAxisError(
                f"{type(plain.student).__name__} must answer batches of any size, and fails on others than the "
                f"example's {tensors[0].shape[0]}: {error}. Take sizes from the input in forward, or fix the axis "
                f"knowingly: dynamic={{{plain.names[0]!r}: {{}}}}."
            ) from error
        try:
            for changed in other_sizes(tensors, axes):
                plain(*changed)
        except Exception:
            notes.append(FIXED_LENGTH)
            return kept
    return list(axes)


def output_axes(plain: Plain, tensors: Sequence[Tensor], axes: Sequence[Axes]) -> list[dict[int, str]]:
    """Which axes of the outputs go with the batch and with the length of the sequences: tried out."""
    with torch.no_grad():
        sizes = [tuple(value.shape) for value in plain(*tensors)]
        found: list[dict[int, str]] = [{} for _ in sizes]
        for changed in other_sizes(tensors, axes):
            same_rows = all(one.shape[0] == other.shape[0] for one, other in zip(tensors, changed, strict=True))
            for place, value in enumerate(plain(*changed)):
                for axis, (size, before) in enumerate(zip(value.shape, sizes[place], strict=True)):
                    if size != before:
                        found[place].setdefault(axis, SEQUENCE if same_rows else BATCH)
    return found


def traced(plain: Plain, tensors: Sequence[Tensor], axes: Sequence[Axes]) -> Any:
    """The student as a `torch.export.ExportedProgram`.

    Args:
        plain: in eval mode on the CPU.
        tensors: an example; varying axes of size 2 or more.
        axes: of each tensor.

    Raises:
        ExportError: if torch.export refuses; names the module and the line.
    """
    vary = tuple(dict.fromkeys(entry, torch.export.Dim.DYNAMIC) or None for entry in axes)
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(plain, tuple(tensors), dynamic_shapes=(vary,), strict=False)
    except Exception as error:
        fixed = re.search(r"tensors'?\]?\[(\d+)\]\.size\(\)\[(\d+)\].*specialized", str(error), re.S)
        if fixed:
            raise FixedAxisError(_fixed(plain, int(fixed[1]), int(fixed[2]))) from error
        raise ExportError(_refusal(error, plain)) from error


class FixedAxisError(ExportError):
    """An axis that must vary is fixed by the student's code."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what exporters say about themselves: warnings, log lines, printed graphs. Errors still come through."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def named_module(path: str, module: Any) -> str:
    """A module as messages show it, such as "'encoder.fft' (SpectralLayer)"."""
    kind = module if isinstance(module, str) else type(module).__name__
    return f"{path.removeprefix('student').lstrip('.') or 'the student itself'!r} ({kind.rpartition('.')[2]})"


def _fixed(plain: Plain, place: int, axis: int) -> str:
    whose, name = type(plain.student).__name__, plain.names[place]
    return (
        f"{whose} must answer inputs of any size along axis {axis} of {name!r}, and its forward fixes that axis: a "
        "file would answer one size only. Take the size from the input (x.shape[0]) in place of a number or a loop "
        f"over Python values, or fix it knowingly: dynamic={{{name!r}: {{}}}}."
    )


def _refusal(error: Exception, plain: Plain) -> str:
    place = _deepest(error.__traceback__, plain)
    reason = str(error).partition("\n")[0].partition("(unhinted")[0].strip().rstrip(".") + "."
    where = f"in {place}" if place else f"in {type(plain.student).__name__}"
    if "data-dependent" in str(error) or type(error).__name__ == "GuardOnDataDependentSymNode":
        return (
            f"torch.export refuses control flow that depends on values, {where}: {reason} A file would hold only the "
            "branch that this example took. Use torch.where or torch.cond there, move the decision out of the model, "
            "or ship as 'safetensors'."
        )
    return (
        f"torch.export cannot follow the student, {where}: {type(error).__name__}: {reason} Write that part with torch "
        "operators, or ship as 'safetensors'."
    )


def _deepest(traceback: TracebackType | None, plain: Plain) -> str | None:
    """The innermost module of the student whose forward was running, with the line."""
    paths = {id(module): path for path, module in plain.student.named_modules()}
    found = None
    while traceback is not None:
        frame = traceback.tb_frame
        running = next(iter(frame.f_locals.values()), None) if frame.f_code.co_argcount else None
        own_code = not frame.f_code.co_filename.endswith("/torch/nn/modules/module.py")
        if isinstance(running, nn.Module) and id(running) in paths and own_code:
            line = f"{frame.f_code.co_filename}, line {traceback.tb_lineno}"
            found = f"{named_module(paths[id(running)], running)}, {line}"
        traceback = traceback.tb_next
    return found


def _of_tokens(tensor: Tensor) -> bool:
    return tensor.dim() == 2 and not tensor.is_floating_point() and not tensor.is_complex()
