"""How a student is called: which tensors go in where, and which come out under which name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, auto
from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.signals import Signals

NOT_SHIPPED = ("loss",)
"""Outputs that only a training reads."""


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor that the student takes.

    Attributes:
        name: in the artefact, such as "input_ids".
        parameter: of the student's forward that it is, or is inside of.
        inside: keys and indices that lead to the tensor inside that parameter's value; mostly empty.
    """

    name: str
    parameter: str
    inside: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a student, as its adapter made it.

    Attributes:
        positional, named: what forward was given.
        output: what it returned.
        signals: what the adapter made of that.
    """

    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    output: Any
    signals: Signals


def recorded(model: nn.Module, batch: Any, adapter: Adapter) -> Call:
    """Call a model on a batch as training does, and keep what went in and came out.

    Args:
        model: called once, in whatever mode and gradient context the caller set.
        batch: as a loader yields it, on the model's device.
        adapter: calls the model.

    Raises:
        ModelContractError: if the batch does not fit, or the adapter does not call the model exactly once.
    """
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []

    def keep(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        calls.append((positional, dict(named), output))

    handle = model.register_forward_hook(keep, with_kwargs=True)
    try:
        signals = adapter(model, batch, 1.0)
    finally:
        handle.remove()
    if len(calls) != 1:
        raise ModelContractError(
            f"The adapter must call {type(model).__name__} once a batch, and called it {len(calls)} times. "
            "One artefact is one forward."
        )
    return Call(*calls[0], signals)


def by_name(model: nn.Module, batch: Any, adapter: Adapter) -> Any:
    """A tuple of exactly the inputs that forward cannot do without, by their names; any other batch as it is.

    `auto` takes the last entry of a tuple for the labels, and these have none.
    """
    if adapter is auto and isinstance(batch, (tuple, list)) and 1 < len(batch) <= _required(model):
        return dict(zip(_parameters(model), batch, strict=False))
    return batch


def inputs_of(model: nn.Module, call: Call) -> tuple[Input, ...]:
    """The tensors of a call, in the order in which `tensors_of` gives them.

    Raises:
        ModelContractError: if the model was given no tensor.
    """
    found = []
    for parameter, value in (*zip(positional_of(model, call), call.positional, strict=False), *call.named.items()):
        found += [Input(_joined(parameter, path), parameter, path) for path, _ in _leaves(value)]
    if not found:
        raise ModelContractError(f"{type(model).__name__} was given no tensor by this batch, so nothing can be traced.")
    return tuple(found)


def positional_of(model: nn.Module, call: Call) -> list[str]:
    """Names of what forward takes by position, in order; what only `*inputs` takes is "input_0", "input_1", ..."""
    parameters = _parameters(model)
    return parameters + [f"input_{place}" for place in range(len(parameters), len(call.positional))]


def tensors_of(call: Call) -> list[Tensor]:
    """The tensors of a call: positional inputs first, then those by keyword."""
    return [tensor for value in (*call.positional, *call.named.values()) for _, tensor in _leaves(value)]


def constants_of(model: nn.Module, call: Call) -> dict[str, Any]:
    """Inputs that are no tensors and hold none, such as temperature=1.0: they become part of the artefact."""
    given = dict(zip(positional_of(model, call), call.positional, strict=False))
    plain = (bool, int, float, str, type(None))
    return {name: value for name, value in {**given, **call.named}.items() if isinstance(value, plain)}


def outputs_of(output: Any, whose: str) -> dict[str, Tensor]:
    """The tensors that a student returned, by name.

    A tensor is "logits"; of a tuple the first tensor is "logits" and the others "output_1", ...; of a mapping each has
    its key, nested ones "hidden_states.0", ... The model's own loss and what is no tensor, such as a key-value cache,
    is left out.

    Raises:
        ModelContractError: if there is no tensor.
    """
    if isinstance(output, Tensor):
        return {"logits": output}
    if isinstance(output, Signals):
        output = {"logits": output.logits, "log_probs": output.log_probs, **output.features}
    if isinstance(output, Mapping):
        found = {
            _joined(str(key), path): tensor
            for key, value in output.items()
            if key not in NOT_SHIPPED
            for path, tensor in _leaves(value)
        }
    else:
        leaves = [tensor for _, tensor in _leaves(output)]
        found = {f"output_{place}" if place else "logits": tensor for place, tensor in enumerate(leaves)}
    if not found:
        raise ModelContractError(
            f"{whose} must return a tensor, or a tuple or mapping that holds tensors, and returned "
            f"{type(output).__name__}. An artefact gives tensors only; return the logits."
        )
    return found


def form_of(output: Any) -> str:
    """What the student returned: "tensor", "mapping" or "tuple"."""
    if isinstance(output, Tensor):
        return "tensor"
    return "mapping" if isinstance(output, (Mapping, Signals)) else "tuple"


class Plain(nn.Module):
    """A student with tensors in and tensors out, as artefacts are.

    Args:
        student: called.
        call: an example; its inputs that are no tensors stay as they are.
    """

    def __init__(self, student: nn.Module, call: Call) -> None:
        super().__init__()
        self.student = student
        self.positional = call.positional
        self.named = dict(call.named)
        self.names = [entry.name for entry in inputs_of(student, call)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The student's output tensors, in the order of `outputs_of`; tensors in the order of `tensors_of`."""
        given = iter(tensors)

        def replaced(leaf: Any) -> Any:
            return next(given) if isinstance(leaf, Tensor) else leaf

        positional = [map_leaves(value, replaced) for value in self.positional]
        named = {name: map_leaves(value, replaced) for name, value in self.named.items()}
        return tuple(outputs_of(self.student(*positional, **named), type(self.student).__name__).values())


def floats_as(tensors: Sequence[Tensor], dtype: torch.dtype | None) -> list[Tensor]:
    """The tensors with those of floating point cast; None leaves them."""
    return [tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor for tensor in tensors]


def check_known(names: Sequence[str], inputs: Sequence[Input], what: str) -> None:
    """Raise ConfigError if a name is none of the inputs'."""
    known = [entry.name for entry in inputs]
    for name in names:
        if name not in known:
            raise ConfigError(f"{what} names the input {name!r}, and the student takes {', '.join(known)}.")


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _leaves(entry, (*path, key))
    elif isinstance(value, (tuple, list)):
        for place, entry in enumerate(value):
            yield from _leaves(entry, (*path, place))


def _joined(name: str, path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, (name, *path)))


def _parameters(model: nn.Module) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [entry.name for entry in inspect.signature(model.forward).parameters.values() if entry.kind in kinds]


def _required(model: nn.Module) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters.values()
    return sum(entry.kind in kinds and entry.default is entry.empty for entry in parameters)
