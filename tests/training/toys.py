"""Small models, data and a quiet Trainer that the tests of several rooms share."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

FEATURES, CLASSES = 5, 3
QUIET: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int = 24, seed: int = 0) -> TensorDataset:
    """Inputs [count, FEATURES] and labels [count], the same for the same seed."""
    inputs = torch.randn(count, FEATURES, generator=seeded(seed))
    return TensorDataset(inputs, torch.randint(CLASSES, (count,), generator=seeded(seed + 1)))


def loader(count: int = 24, *, batch_size: int = 8, shuffle: bool = False, seed: int = 0) -> DataLoader[Any]:
    return DataLoader(points(count, seed), batch_size=batch_size, shuffle=shuffle)


def filled(model: nn.Module, seed: int) -> nn.Module:
    """The model with parameters drawn from a seed, without touching torch's own generator."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def mlp(seed: int = 1, hidden: int = 8) -> nn.Sequential:
    model = nn.Sequential(
        OrderedDict(hidden=nn.Linear(FEATURES, hidden), act=nn.ReLU(), head=nn.Linear(hidden, CLASSES))
    )
    filled(model, seed)
    return model


class Difficult(nn.Module):
    """A teacher with batch statistics, dropout, a frozen part and modules in different modes."""

    def __init__(self, seed: int = 7) -> None:
        super().__init__()
        self.stem = nn.Linear(FEATURES, 8)
        self.norm = nn.BatchNorm1d(8)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, momentum=None), nn.Dropout(0.5), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)
        filled(self, seed)
        self.register_buffer("steps", torch.tensor(3))
        self.stem.requires_grad_(False)
        self.train()
        self.norm.eval()
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.body(self.norm(self.stem(inputs))))


class Stream(IterableDataset[Any]):
    """Samples without a length."""

    def __init__(self, dataset: TensorDataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        return iter(self.dataset)


class Losses(Callback):
    """The total loss of every training batch, as `training_step` returned it."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.values.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)


class Scripted:
    """A pipeline that gives the scores it was told, one a call, and keeps the student's weights at each call."""

    def __init__(self, *scores: float, higher_is_better: bool | None = None) -> None:
        self.scores = list(scores)
        self.weights: list[dict[str, Tensor]] = []
        self.training: list[bool] = []
        if higher_is_better is not None:
            self.higher_is_better = higher_is_better

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        self.training.append(model.training)
        self.weights.append(snapshot(model))
        return {"inference_result": self.scores[len(self.weights) - 1]}


def quiet_trainer(**settings: Any) -> Trainer:
    """A user's own Trainer with everything switched off that writes or prints."""
    off = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return Trainer(**{**QUIET, **off, "max_epochs": 1, "log_every_n_steps": 1, **settings})


@contextmanager
def no_warning() -> Iterator[None]:
    """Every warning is an error, but for two of Lightning's that no user's setting or ours brings about."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in (".*LeafSpec.*", ".*many workers.*"):
            warnings.filterwarnings("ignore", message)
        yield


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def identical(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two state dicts agree in every name and to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def hooks_on(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def flags(model: nn.Module) -> tuple[list[bool], list[bool]]:
    """The mode of every module and the gradient flag of every parameter."""
    modes = [module.training for module in model.modules()]
    return modes, [parameter.requires_grad for parameter in model.parameters()]
