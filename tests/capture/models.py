"""Small models for the capture tests, each with one property that breaks careless hooks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Cnn(nn.Module):
    """Three stages; counts how often each part runs; nothing is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for stage in self.stages:
            features = stage(features)
        return self.head(features.mean(dim=(2, 3)))


class Shared(nn.Module):
    """One block called three times, as ALBERT does."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        for _ in range(3):
            inputs = self.block(inputs).tanh()
        return self.head(inputs)


class InPlace(nn.Module):
    """The ReLU writes into the batch norm's output, as in torchvision's ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.relu(self.norm(inputs))


class Checkpointed(nn.Module):
    """Its block runs again in the backward pass."""

    def __init__(self, reentrant: bool = False) -> None:
        super().__init__()
        self.first, self.block, self.head = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 1)
        self.reentrant = reentrant

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        return self.head(checkpoint(self.block, hidden, use_reentrant=self.reentrant))


class Output(OrderedDict[str, Any]):
    """Stands for a Hugging Face output: a mapping whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


class Layer(nn.Module):
    """Takes its input by keyword and returns one of several kinds of container."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(4, 4)

    def forward(self, *, hidden_states: Tensor, bias: Tensor | None = None) -> Any:
        hidden = self.linear(hidden_states)
        if self.kind == "tuple":
            return hidden, (hidden * 2, None), [hidden * 3]
        return Output(loss=hidden.mean(), last_hidden_state=hidden, attentions=(hidden * 2, hidden * 3))


class Encoder(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = Layer(kind)

    def forward(self, inputs: Tensor) -> Tensor:
        output = self.layer(hidden_states=inputs, bias=torch.ones(2, 2))
        return output[0] if self.kind_is_tuple() else output["last_hidden_state"]

    def kind_is_tuple(self) -> bool:
        return self.layer.kind == "tuple"


def hooks_on(model: nn.Module) -> int:
    """How many forward hooks of any kind are on a model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def written(model: nn.Module) -> list[tuple[str, list[str], list[str]]]:
    """Everything that could be written on a model: attribute names and state, module by module."""
    return [(name, sorted(vars(module)), sorted(module.state_dict())) for name, module in model.named_modules()]
