"""What is kept of a module's calls, and how to call a model without leaving a trace on it."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import CaptureError


class Calls:
    """The tensors that one tap read, in the order of the calls, until they are cleared.

    A tensor is kept as it is, together with its version: if a later operation writes into it, reading raises
    instead of returning what the model made of it afterwards. Where versions are not tracked (under
    torch.compile and in inference mode) a copy is kept instead.
    """

    def __init__(self, label: str, *, clone: bool = False) -> None:
        self.label = label
        self.clone = clone
        self.held: list[tuple[Tensor, int | None]] = []

    def add(self, tensor: Tensor, compiling: bool) -> None:
        """Keep one more tensor; `compiling` is what torch.compiler.is_compiling() says."""
        if self.clone or compiling or tensor.is_inference():
            self.held.append((tensor.clone(), None))
        else:
            self.held.append((tensor, tensor._version))

    def all(self) -> list[Tensor]:
        """Every tensor, first call first."""
        return [self._unchanged(*item) for item in self.held]

    def last(self) -> Tensor:
        """The tensor of the last call."""
        return self._unchanged(*self.held[-1])

    def clear(self) -> None:
        """Let go of every tensor."""
        self.held.clear()

    def __len__(self) -> int:
        return len(self.held)

    def _unchanged(self, tensor: Tensor, version: int | None) -> Tensor:
        if version is not None and tensor._version != version:
            raise CaptureError(
                f"{self.label} was changed in place after it was read, as ReLU(inplace=True) or `x += y` do: it no "
                "longer holds what the module gave. Pass clone=True to keep a copy, or tap the module that made "
                "the change."
            )
        return tensor


def in_backward() -> bool:
    """Whether this code runs inside a backward pass, as activation checkpointing's second forward does."""
    return torch._C._current_graph_task_id() != -1


def call(model: nn.Module, example: Any) -> Any:
    """Call a model with an example batch.

    Args:
        model: called once, in whatever mode and gradient context the caller set.
        example: a tensor; a tuple or list of positional inputs, whose last entry is taken for the labels and left
            out if forward takes one input fewer; or a mapping of keyword inputs, of which those that forward does
            not know are left out.
    """
    signature = inspect.signature(model.forward)
    if isinstance(example, Mapping):
        open_ended = any(item.kind is item.VAR_KEYWORD for item in signature.parameters.values())
        return model(**{key: value for key, value in example.items() if open_ended or key in signature.parameters})
    if isinstance(example, (tuple, list)):
        positional = example
        if len(example) > 1 and not _takes(signature, len(example)):
            positional = example[:-1]
        return model(*positional)
    return model(example)


def first_batches(example: Any, count: int) -> list[Any]:
    """One batch as it is; the first `count` of a loader or of a list of batches."""
    if isinstance(example, (Tensor, Mapping, tuple)):
        return [example]
    if isinstance(example, list) and not _is_list_of_batches(example):
        return [example]
    found = list(itertools.islice(example, count))
    if not found:
        raise CaptureError("At least one example batch is needed; the loader or list gave none.")
    return found


def _is_list_of_batches(example: Sequence[Any]) -> bool:
    if not all(isinstance(entry, Tensor) for entry in example):
        return True
    # A loader's [inputs, labels] is one batch: the labels have fewer axes.
    return all(entry.dim() > 1 and entry.shape[1:] == example[0].shape[1:] for entry in example)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run a model in eval mode without gradient; modes, random state and batch statistics stay as they were."""
    cards = sorted({tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"})
    with torch.random.fork_rng(devices=cards), torch.no_grad(), in_eval_mode(model):
        yield


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Run a model in eval mode; every module has its own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
