"""A live teacher: a module that answers during training."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, auto
from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.capture.valid_tokens import HeadOnValidTokens
from knowledge_distillation.signals import Signals

FROM_FILES = ("architectures", "dtype", "torch_dtype", "transformers_version")
"""Entries of a Hugging Face configuration that saving and loading change, and that change no answer."""


class LiveTeacher:
    """Ask a module for its signals on every batch, frozen: eval mode, no gradient, nothing written on it.

    Args:
        model: the teacher. Its parameters, buffers and `requires_grad` flags are left as they are; train or eval
            mode is eval between `prepare` and `release`, then what it was.
        adapter: (model, batch, temperature) -> Signals.
        temperature: handed to the adapter; > 0.
        device: where it answers; None for the student's device. A model that lies on several devices, or is sharded
            over processes, stays where it is. Batches go there, and answers come to the student's device.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        adapter: Adapter = auto,
        temperature: float = 1.0,
        device: torch.device | str | None = None,
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.temperature = temperature
        self.device = None if device is None else torch.device(device)
        self._students = self._own = torch.device("cpu")
        self._modes: list[tuple[nn.Module, bool]] = []
        self._reader: Reader | None = None
        self._dtype: torch.dtype | None = None
        self._device_type = "cpu"
        self._stand_in: nn.Module | None = None
        self._precision: torch.dtype | None = None
        self._head: HeadOnValidTokens | None = None
        self._leaves_head = False

    @property
    def fingerprint(self) -> str:
        """sha256 over the temperature, every module's class and settings, and every parameter and buffer, saved or not.

        Settings are those that a module shows when it is printed, and its `config`. Other attributes are not seen. Of
        a model that is sharded over processes, all of them must ask.
        """
        digest = hashlib.sha256(f"{self.temperature}\n".encode())
        for line in _settings(self.model):
            digest.update(f"{line}\n".encode())
        for name, tensor in [*self.model.named_parameters(), *self.model.named_buffers()]:
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
            digest.update(full(tensor).detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def prepare(self, device: torch.device) -> None:
        """Move to the device, or to its own, and freeze in eval mode."""
        if not is_spread(self.model):
            self.model.to(self.device or device)
        self._students = device
        devices = (parameter.device for parameter in self.model.parameters() if not parameter.is_meta)
        self._own = next(devices, self.device or device)
        self._device_type = self._own.type
        if not self._modes:
            self._modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        self._dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), None)

    @property
    def voice(self) -> nn.Module:
        """Who answers: the model, or what stands in for it."""
        return self.model if self._stand_in is None else self._stand_in

    def speak_through(self, stand_in: nn.Module | None, precision: torch.dtype | None = None) -> None:
        """Let a copy answer in the model's place, such as one of lower precision; None for the model itself again.

        Args:
            stand_in: on the prepared device, with the model's module paths; put in eval mode.
            precision: what its forward computes in, by autocast; None for its own.
        """
        if stand_in is not self._stand_in:
            self._detach()
        self._stand_in = stand_in.eval() if stand_in is not None else None
        self._precision = precision

    def pack(self, head: HeadOnValidTokens | None) -> None:
        """Compute the last linear layer on valid tokens only; None for all tokens again."""
        if self._head is not None:
            self._head.detach()
        self._head = head
        if head is not None:
            head.attach()

    def leave_head(self, left: bool) -> None:
        """Give a `Projected` in the place of whole logits until `release`, where adapter and model allow it.

        A model on another device than the student, on several, or sharded makes its logits itself.
        """
        if left != self._leaves_head:
            self._detach()
        self._leaves_head = left

    def signals(self, batch: Any, wanted: Sequence[str] = ("logits",)) -> Signals:
        """What the model says about a batch, without gradient; ends after the last wanted module where it can.

        Args:
            batch: on the prepared device; outside autocast its floating tensors are cast to the model's precision.
            wanted: "logits", "log_probs", features of the adapter, or module paths, which are tapped.

        Raises:
            CaptureError: if a wanted signal is neither a module that is called nor given by the adapter.
        """
        reader = self._reader
        if reader is None or reader.wanted != wanted:
            self._detach()
            is_whole = not is_spread(self.model)
            reader = self._reader = Reader(
                self.voice,
                self.adapter,
                temperature=self.temperature,
                wanted=tuple(wanted),
                whose="teacher",
                stop_early=is_whole,  # a sharded forward must come to its end in every process
                leaves_head=self._leaves_head and is_whole and self._own == self._students,
            )
            reader.attach()
        if self._head is not None:
            self._head.look_at(None if self._leaves_head else batch)
        if self._own != self._students:
            batch = map_leaves(batch, partial(_moved, device=self._own))
        with torch.no_grad(), self._autocast():
            if not torch.is_autocast_enabled(self._device_type):
                batch = map_leaves(batch, self._in_own_precision)
            said = reader.read(batch)
        if self._own == self._students:
            return said
        parts = {part.name: getattr(said, part.name) for part in fields(said)}
        return Signals(
            **{name: map_leaves(part, partial(_moved, device=self._students)) for name, part in parts.items()}
        )

    def release(self) -> None:
        """Take hooks off and give every module its own mode back."""
        self._detach()
        self._leaves_head = False
        for module, mode in self._modes:
            module.training = mode
        self._modes = []

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._precision is None else torch.autocast(self._device_type, self._precision)

    def _detach(self) -> None:
        if self._reader is not None:
            self._reader.detach()
            self._reader = None

    def _in_own_precision(self, leaf: Any) -> Any:
        """Floating tensors as the model takes them: a student may train in true bf16."""
        return leaf.to(self._dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def is_spread(model: nn.Module) -> bool:
    """Whether a model lies on several devices, or in parts in several processes."""
    parameters = list(model.parameters())
    return len({parameter.device for parameter in parameters}) > 1 or any(map(is_distributed, parameters))


def is_distributed(tensor: Tensor) -> bool:
    """Whether this process holds a part of the tensor only: a `DTensor`, whose class takes a second to import."""
    return hasattr(tensor, "full_tensor")


def full(tensor: Any) -> Tensor:
    """The tensor; where this process holds a part of it, all of it, for which every process must ask."""
    found: Tensor = tensor.full_tensor() if is_distributed(tensor) else tensor
    return found


def _moved(leaf: Any, device: torch.device) -> Any:
    return leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf


def _settings(model: nn.Module) -> Iterator[str]:
    """One line for each module: where it is, what it is, and how it is set."""
    told: list[Any] = []
    for path, module in model.named_modules():
        config = vars(module).get("config")
        if any(config is other for other in told):  # the modules of a model share one
            config = None
        told.append(config)
        shown = re.sub(r" at 0x[0-9a-f]+", "", module.extra_repr())
        yield f"{path}:{type(module).__qualname__}({shown}){_config(config)}"


def _config(config: Any) -> str:
    """A configuration as text, without what saving and loading change."""
    to_dict = getattr(config, "to_dict", None)
    entries = to_dict() if callable(to_dict) else config
    if not isinstance(entries, Mapping):
        return ""
    kept = {str(key): value for key, value in entries.items() if str(key)[:1] != "_" and key not in FROM_FILES}
    return re.sub(r" at 0x[0-9a-f]+", "", json.dumps(kept, sort_keys=True, default=str))
