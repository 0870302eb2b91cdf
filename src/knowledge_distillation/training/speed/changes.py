"""Put settings on the models of a training, and take them off again without a trace."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.capture.valid_tokens import HeadOnValidTokens
from knowledge_distillation.teachers import LiveTeacher
from knowledge_distillation.teachers.cache import TaughtBatch
from knowledge_distillation.training.speed.settings import Settings

BACKEND = "inductor"
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
HALVED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers whose weights autocast rounds at every call: to round them beforehand changes no bit."""
IMPLEMENTATION = "_compiled_call_impl"
"""Where nn.Module.compile keeps what it made. It is no module, so no name in a state dict changes."""


class Changes:
    """The settings that two models have on.

    Values, names and flags of parameters stay as they are; only strides change, and are put back.

    Args:
        student: about to be trained.
        teachers: the live ones behind the training's teacher; empty for a cached one.
    """

    def __init__(self, student: nn.Module, teachers: Sequence[LiveTeacher]) -> None:
        self.student = student
        self.teachers = tuple(teachers)
        self.settings = Settings()
        self._strides: list[tuple[nn.Parameter, tuple[int, ...]]] = []
        self._compiled: dict[nn.Module, Any] = {}
        self._copies: dict[tuple[int, str], nn.Module] = {}

    def put_on(self, settings: Settings, heads: Sequence[str | None] = ()) -> None:
        """Change the models to these settings, from whichever they have on.

        Args:
            settings: what shall hold afterwards. A failure takes everything off.
            heads: the path of every teacher's last linear layer, where it has one.
        """
        self.take_off()
        try:
            self.settings = settings
            for teacher in self.teachers:
                if settings.teacher_precision != "same":
                    dtype = getattr(torch, settings.teacher_precision)
                    teacher.speak_through(self._copy(teacher.model, dtype), dtype)
            if settings.valid_tokens:
                for teacher, head in zip(self.teachers, heads, strict=True):
                    if head is not None:
                        teacher.pack(HeadOnValidTokens(teacher.voice.get_submodule(head)))
            if settings.channels_last:
                for weight in weights_to_lay_out(self._models()):
                    self._strides.append((weight, weight.stride()))
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
            for whose, models in (("student", [self.student]), ("teacher", [t.voice for t in self.teachers])):
                if settings.compiles(whose):
                    for model in models:
                        self._compile(model)
        except BaseException:
            self.take_off()
            raise

    def take_off(self) -> None:
        """Give every model back as it was."""
        for model in self._models():
            if vars(model).get(IMPLEMENTATION) is self._compiled.get(model, self):
                del vars(model)[IMPLEMENTATION]
        for weight, stride in self._strides:
            weight.data = laid_out(weight.data, stride)
        self._strides = []
        for teacher in self.teachers:
            teacher.pack(None)
            teacher.speak_through(None)
        self.settings = Settings()

    def forget(self) -> None:
        """Take everything off and let go of copies and compiled code."""
        self.take_off()
        self._compiled.clear()
        self._copies.clear()

    def match(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Lay gradients and optimiser states out as their parameters: fused kernels read all as plain memory."""
        engines = list(optimizers)
        for weight in (parameter for parameter in self.student.parameters() if parameter.dim() == 4):
            if weight.grad is not None:
                weight.grad = laid_out(weight.grad, weight.stride())
            for state in (engine.state[weight] for engine in engines if weight in engine.state):
                for name, value in state.items():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        state[name] = laid_out(value, weight.stride())

    def converted(self, batch: Any) -> Any:
        """The batch as the models want it: images of several channels in channels_last."""
        if not self.settings.channels_last:
            return batch
        if isinstance(batch, TaughtBatch):
            return TaughtBatch(self.converted(batch.content), batch.answers)
        return map_leaves(batch, _channels_last)

    def _models(self) -> Iterator[nn.Module]:
        yield self.student
        for teacher in self.teachers:
            yield teacher.voice

    def _compile(self, model: nn.Module) -> None:
        if model not in self._compiled:
            if vars(model).get(IMPLEMENTATION) is not None:
                return  # by the user
            model.compile(backend=BACKEND)
            self._compiled[model] = vars(model)[IMPLEMENTATION]
        vars(model)[IMPLEMENTATION] = self._compiled[model]

    def _copy(self, model: nn.Module, dtype: torch.dtype) -> nn.Module:
        """A copy whose convolutions and linear layers are rounded; it shares every other tensor with the model."""
        key = id(model), str(dtype)
        if key not in self._copies:
            memory: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
            for parameter in weights_to_round(model):
                memory[id(parameter)] = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
            self._copies[key] = copy.deepcopy(model, memory)
        return self._copies[key]


def weights_to_lay_out(models: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The 4-d weights of convolutions that lie plainly in memory and would lie otherwise in channels_last."""
    found: dict[int, nn.Parameter] = {}
    for module in (module for model in models for module in model.modules()):
        weight = module._parameters.get("weight") if isinstance(module, CONVOLUTIONS) else None
        if weight is not None and weight.is_contiguous() and not _is_channels_last(weight):
            found[id(weight)] = weight
    return list(found.values())


def weights_to_round(model: nn.Module) -> list[nn.Parameter]:
    """The float32 parameters that only convolutions and linear layers hold; a tied embedding is not rounded."""
    held: dict[bool, dict[int, nn.Parameter]] = {True: {}, False: {}}
    for module in model.modules():
        for parameter in (entry for entry in module._parameters.values() if entry is not None):
            held[isinstance(module, HALVED)][id(parameter)] = parameter
    return [p for key, p in held[True].items() if key not in held[False] and p.dtype == torch.float32]


def laid_out(tensor: Tensor, stride: Sequence[int]) -> Tensor:
    """The tensor itself if it has these strides, else a copy that has."""
    if tensor.stride() == tuple(stride):
        return tensor
    other = torch.empty_strided(tensor.shape, tuple(stride), dtype=tensor.dtype, device=tensor.device)
    return other.copy_(tensor)


def plain(leaf: Any) -> Any:
    """A tensor in plain layout, anything else as it is: what files shall hold, whatever the training had on."""
    return leaf.contiguous() if isinstance(leaf, Tensor) and leaf.layout == torch.strided else leaf


def _channels_last(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and leaf.dim() == 4 and leaf.is_floating_point():
        return leaf.contiguous(memory_format=torch.channels_last)
    return leaf


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)
