"""What goes wrong for a user when NaN or infinity comes up in a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.errors import ConfigError, NonFiniteError
from tests.run.test_distill import Noisy, train
from tests.training.toys import mlp, points

BAD = {"nan": float("nan"), "inf": float("inf")}


class Spoils(nn.Module):
    """A student whose third forward in training goes wrong in one place."""

    def __init__(self, place: str, value: float) -> None:
        super().__init__()
        self.model = Noisy()
        self.place, self.value, self.calls = place, value, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += self.training
        spoils = self.training and self.calls == 3
        if spoils and self.place == "inputs":
            inputs = inputs.clone()
            inputs[0, 0] = self.value
        outputs: Tensor = self.model(inputs)
        if spoils and self.place == "logits":
            outputs = outputs + self.value
        if spoils and self.place == "gradient":
            outputs = outputs + 0 * outputs
            outputs.register_hook(lambda gradient: gradient * self.value)
        return outputs


def finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(entry).all()) for entry in model.state_dict().values() if entry.is_floating_point())


@pytest.mark.parametrize("place", ["inputs", "logits", "gradient"])
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_the_weights_stay_finite(place: str, value: str, policy: str, tmp_path: Path) -> None:
    """Otherwise one bad sample ends a run of a week, and every checkpoint after it is worthless."""
    student = Spoils(place, BAD[value])
    settings: dict[str, Any] = {"student": student, "nonfinite": policy, "checkpoint_every": 1}
    settings["trainer"] = {"log_every_n_steps": 2}
    if policy == "stop":
        with pytest.raises(NonFiniteError, match=r"step 2|on the first batch"):
            train(tmp_path, **settings)
    else:
        assert train(tmp_path, **settings).module.trainer.global_step == 6
        assert finite(student)
    assert finite(student) or (policy, place) == ("stop", "inputs")  # batch statistics saw them before the loss
    for path in (tmp_path / "checkpoints").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(bool(torch.isfinite(entry).all()) for entry in state.values() if entry.is_floating_point())


def test_a_skipped_step_changes_nothing_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a skipped batch still moves the weights by momentum, or nobody learns that data is bad."""
    inputs, labels = points(24).tensors
    spoilt = inputs.clone()
    spoilt[8:16] = float("nan")

    def run(name: str, data: Tensor, targets: Tensor) -> dict[str, Tensor]:
        loader = DataLoader(TensorDataset(data, targets), batch_size=8)
        run = train(
            tmp_path / name, student=mlp(1), train_loader=loader, max_epochs=1, nonfinite="skip", optimizer="adam"
        )
        return run.student.state_dict()

    without = run("without", torch.cat([inputs[:8], inputs[16:]]), torch.cat([labels[:8], labels[16:]]))
    assert not caplog.records or "left out" not in caplog.text
    skipped = run("skipped", spoilt, labels)
    assert all(torch.equal(skipped[name], without[name]) for name in without)
    assert "step 1: the loss is nan; it is left out" in caplog.text


def test_too_many_in_a_row_stop_the_run(tmp_path: Path) -> None:
    """Otherwise a diverged run skips every step until its end and looks as if it had trained."""
    inputs, labels = points(120).tensors
    loader = DataLoader(TensorDataset(inputs * float("nan"), labels), batch_size=8)
    with pytest.raises(NonFiniteError, match=r"10 steps in a row"):
        train(tmp_path, student=mlp(1), train_loader=loader, nonfinite="skip")


def test_an_unknown_policy_is_named() -> None:
    """Otherwise a typing error means 'stop'."""
    with pytest.raises(ConfigError, match=r"nonfinite must be one of stop, skip, rollback, got 'skipp'"):
        train(Path("nowhere"), nonfinite="skipp")
