"""What goes wrong for a user on a GPU when a step asks for a tensor's value: the device stands still meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from knowledge_distillation import DistillationModule
from knowledge_distillation.objective.presets import PRESETS
from tests.objective.preset_models import models_and_data
from tests.objective.test_presets import module_of
from tests.training.toys import loader, mlp, quiet_trainer
from tests.training.waiting import waits


class Watched(Callback):
    """Collects what asks for values in the forward and the backward of every step but the logged ones."""

    def __init__(self, module: DistillationModule) -> None:
        self.found: list[str] = []
        self.steps = 0
        real = module.training_step

        def training_step(batch: Any, batch_idx: int) -> Tensor:
            if module._log.is_due(batch_idx):
                return real(batch, batch_idx)
            self.steps += 1
            with waits() as found:
                total = real(batch, batch_idx)
            self.found += found
            self._waits = waits()
            self._in_backward = self._waits.__enter__()
            return total

        object.__setattr__(module, "training_step", training_step)
        self._in_backward: list[str] | None = None

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if self._in_backward is not None:
            self._waits.__exit__(None, None, None)
            self.found += self._in_backward
            self._in_backward = None


def watched(module: DistillationModule, data: Any, **settings: Any) -> Watched:
    watch = Watched(module)
    quiet_trainer(log_every_n_steps=1000, callbacks=[watch], **settings).fit(module, data)
    return watch


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_asks_for_a_value_between_logged_steps(name: str) -> None:
    """Otherwise every step waits for the GPU to finish before the next one is queued."""
    student, teacher, data = models_and_data(name)
    watch = watched(module_of(name, student, teacher), DataLoader(data, batch_size=4))
    assert watch.steps >= 2
    assert watch.found == []


@pytest.mark.parametrize(
    "settings", [{"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}, {"gradient_clip_val": 1.0}]
)
def test_no_setting_of_the_trainer_makes_our_step_ask(settings: dict[str, Any]) -> None:
    """Otherwise what holds for the plain training ends with the first setting."""
    module = DistillationModule(mlp(1), mlp(2), "kd", schedule="cosine", gradient_norm=2.0)
    watch = watched(module, loader(batch_size=4), **settings)
    assert watch.steps == 4
    assert watch.found == []


@pytest.mark.parametrize(
    "read", [float, bool, Tensor.item, lambda value: value.tolist(), Tensor.nonzero, lambda value: value[value > 0]]
)
def test_the_watch_sees(read: Any) -> None:
    """Otherwise the tests here cannot fail."""

    class Asking(nn.Module):
        def forward(self, said: Tensor, taught: Tensor) -> Tensor:
            read((said - taught).detach().sum())
            return (said - taught).square().mean()

    module = DistillationModule(mlp(1), mlp(2), {"asking": Asking()})
    assert watched(module, loader(batch_size=4)).found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_itself_sees_no_waiting() -> None:
    """Otherwise a wait that Python does not show slips through."""
    module = DistillationModule(mlp(1), mlp(2), "kd")
    real = module.training_step

    def training_step(batch: Any, batch_idx: int) -> Tensor:
        torch.cuda.set_sync_debug_mode("default" if module._log.is_due(batch_idx) else "error")
        try:
            return real(batch, batch_idx)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    object.__setattr__(module, "training_step", training_step)
    quiet_trainer(accelerator="gpu", log_every_n_steps=1000).fit(module, loader(batch_size=4))
