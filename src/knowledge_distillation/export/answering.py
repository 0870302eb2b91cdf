"""Between a call that is made as the student's and the tensors of an artefact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.export.calls import Call, Input
from knowledge_distillation.signals import Signals

DTYPES = {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
DEEPEST = 1000
"""The largest index in a path: as many places are made to be filled."""


class Signature:
    """What a student took when it was exported, read from the manifest.

    Attributes:
        inputs: the artefact's, in order.
        dtypes: theirs.
        positional: names of what the student's forward takes by position.
        constants: what it was exported with besides tensors.

    Raises:
        KeyError, TypeError, ValueError: if the manifest does not tell.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        entries = manifest["inputs"]
        self.inputs = [Input(entry["name"], entry["parameter"], _path(entry["inside"])) for entry in entries]
        self.dtypes = [DTYPES[entry["dtype"]] for entry in entries]
        self.positional = [str(name) for name in manifest["positional"]]
        self.constants = dict(manifest["constants"])

    def tensors(self, positional: Sequence[Any], named: Mapping[str, Any]) -> list[Tensor]:
        """The artefact's tensors out of a call that is made as the student's.

        Args:
            positional, named: of the call. A keyword that is no input is left out, as labels are.

        Raises:
            ModelContractError: if an input is missing, a constant has another value than it was exported with, or
                there are more positional inputs than the student takes.
        """
        if len(positional) > len(self.positional):
            raise ModelContractError(
                f"The artefact takes {len(self.positional)} positional inputs ({', '.join(self.positional)}), and got "
                f"{len(positional)}. Labels are no input."
            )
        given = {**dict(zip(self.positional, positional, strict=False)), **named}
        for name, value in given.items():
            if name in self.constants and self.constants[name] != value:
                raise ModelContractError(
                    f"{name}={value!r} cannot be had: the artefact was exported with {name}={self.constants[name]!r}."
                )
        return [self._tensor(entry, given) for entry in self.inputs]

    def call(self) -> Call:
        """The call that the student was exported with, with empty tensors."""
        values: dict[str, Any] = dict(self.constants)
        for entry in self.inputs:
            values[entry.parameter] = _holding(values.get(entry.parameter), entry.inside)
        first = []
        for name in self.positional:
            if name not in values:
                break
            first.append(values.pop(name))
        return Call(tuple(first), values, None, Signals())

    def _tensor(self, entry: Input, given: Mapping[str, Any]) -> Tensor:
        value = given.get(entry.parameter)
        try:
            for key in entry.inside:
                value = value[key]  # type: ignore[index]  # checked by what is raised
        except (TypeError, KeyError, IndexError):
            value = None
        if not isinstance(value, Tensor):
            raise ModelContractError(
                f"The artefact needs the input {entry.name!r}, a tensor, and got {type(value).__name__}. It takes "
                f"{', '.join(known.name for known in self.inputs)}."
            )
        return value


def _path(inside: Sequence[Any]) -> tuple[str | int, ...]:
    for key in inside:
        if not isinstance(key, str) and not (type(key) is int and 0 <= key < DEEPEST):
            raise ValueError(f"an input cannot lie at {key!r}")
    return tuple(inside)


def _holding(container: Any, path: tuple[str | int, ...]) -> Any:
    """The container with an empty tensor at the end of the path; containers are made where they are missing."""
    if not path:
        return torch.empty(0)
    key, rest = path[0], path[1:]
    if isinstance(key, str):
        container = {} if container is None else container
        container[key] = _holding(container.get(key), rest)
        return container
    entries = list(container or ())
    entries += [None] * (key + 1 - len(entries))
    entries[key] = _holding(entries[key], rest)
    return tuple(entries)
