"""What goes wrong for a user when the learning rate does not follow the schedule that was named."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.training.schedules import SCHEDULES, check_schedule, make_schedule
from tests.training.toys import Stream, loader, mlp, points, quiet_trainer

RATE = 0.3


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE, momentum=0.9)


def rates(schedule: Any, steps: int, *, max_epochs: int = 10, total_steps: int = 40, warm_up: float = 0) -> list[float]:
    """The learning rate that holds at each of so many steps of the schedule."""
    engine = optimizer()
    made = make_schedule(schedule, engine, max_epochs=max_epochs, total_steps=total_steps, warm_up_epochs=warm_up)
    seen = []
    for _ in range(steps):
        seen.append(engine.param_groups[0]["lr"])
        engine.step()
        if made:
            made["scheduler"].step()
    return seen


def by_step(after: Callable[[float], float], warm: int, total: int) -> list[float]:
    return [RATE * ((t + 1) / (warm + 1) if t < warm else after((t - warm) / (total - warm))) for t in range(total)]


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("linear", lambda share: 1 - share),
        ("cosine", lambda share: 0.5 * (1 + math.cos(math.pi * share))),
        ("constant", lambda share: 1.0),
    ],
    ids=["linear", "cosine", "constant"],
)
@pytest.mark.parametrize("warm_up", [0, 2, 0.5])
def test_a_schedule_by_step_warms_up_and_then_follows_its_formula(
    name: str, after: Callable[[float], float], warm_up: float
) -> None:
    """Otherwise the learning rate ends too early, never ends, or jumps after the warm-up."""
    made = rates(name, 40, warm_up=warm_up)
    assert made == pytest.approx(by_step(after, round(4 * warm_up), 40), abs=1e-12)
    assert max(made) == pytest.approx(RATE)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_decay_reaches_zero_at_the_end_and_stays_there(name: str) -> None:
    """Otherwise a step too many makes the rate negative or lets it rise again."""
    assert rates(name, 44)[40:] == pytest.approx([0, 0, 0, 0], abs=1e-12)


def test_the_originals_linear_decay_follows_its_formula_by_epoch() -> None:
    """Otherwise runs of the original toolkit cannot be repeated."""
    expected = [RATE * ((epoch + 1) / 3 if epoch < 3 else (10 - epoch) / 7) for epoch in range(10)]
    assert rates("linear_decay_with_warm_up", 10, warm_up=3) == pytest.approx(expected)
    assert rates("linear_decay_with_warm_up", 10) == pytest.approx([RATE * (10 - epoch) / 10 for epoch in range(10)])
    assert rates("linear_decay_with_warm_up", 13)[10:] == [0, 0, 0]


def test_the_originals_cosine_restarts_every_nine_epochs() -> None:
    """Otherwise runs of the original toolkit cannot be repeated."""
    floor = 1e-6
    expected = [floor + (RATE - floor) * (1 + math.cos(math.pi * (epoch % 9) / 9)) / 2 for epoch in range(20)]
    assert rates("cosine_anneal", 20) == pytest.approx(expected)


def test_one_cycle_is_torchs_own() -> None:
    """Otherwise the peak or its place differs from what the name promises."""
    for warm_up, share in ((0, 0.3), (2, 0.2)):
        engine = optimizer()
        theirs = OneCycleLR(engine, max_lr=RATE, total_steps=40, pct_start=share)
        expected = []
        for _ in range(40):
            expected.append(engine.param_groups[0]["lr"])
            engine.step()
            theirs.step() if len(expected) < 40 else None
        assert rates("one_cycle", 39, warm_up=warm_up) == pytest.approx(expected[:39])


def test_no_schedule_keeps_the_rate() -> None:
    """Otherwise the default quietly anneals."""
    assert rates("", 5) == [RATE] * 5


def test_the_rate_falls_after_the_epochs_of_the_papers_protocols() -> None:
    """Otherwise a run that is said to follow RepDistiller's or mdistiller's protocol has another learning rate."""
    cifar = [RATE] * 150 + [RATE / 10] * 30 + [RATE / 100] * 30 + [RATE / 1000] * 30
    spec = {"name": "multi_step", "epochs": [150, 180, 210]}
    assert rates(spec, 240, max_epochs=240) == pytest.approx(cifar)
    assert rates("multi_step", 240, max_epochs=240) == pytest.approx(cifar)
    imagenet = {"name": "multi_step", "epochs": [30, 60, 90], "factor": 0.1}
    assert rates(imagenet, 100, max_epochs=100)[::30] == pytest.approx([RATE, RATE / 10, RATE / 100, RATE / 1000])
    assert rates({**spec, "epochs": [3]}, 5, warm_up=2) == pytest.approx([RATE / 2, RATE, RATE, RATE / 10, RATE / 10])
    made = make_schedule(spec, optimizer(), max_epochs=240, total_steps=9, warm_up_epochs=0)
    assert made is not None
    assert made["interval"] == "epoch"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"epochs": [3]}, "needs 'name'"),
        ({"name": "multi_stp"}, "Could not find scheduler 'multi_stp'.*'multi_step'"),
        ({"name": "multi_step", "epoch": [3]}, "has no setting 'epoch'.*epochs"),
        ({"name": "cosine", "epochs": [3]}, "has no setting 'epochs'"),
        ({"name": "multi_step", "epochs": "3"}, "epochs must be a list"),
        ({"name": "multi_step", "factor": "x"}, "factor must be a finite number"),
    ],
)
def test_a_wrong_setting_of_a_schedule_is_refused(spec: Any, said: str) -> None:
    """Otherwise a mistyped setting leaves the rate as it was, for all 240 epochs."""
    with pytest.raises(ConfigError, match=said):
        check_schedule(spec)


@pytest.mark.parametrize("spec", [{"epochs": [0]}, {"factor": 0.0}, {"factor": 1.5}])
def test_a_fall_of_no_sense_is_refused(spec: Any) -> None:
    """Otherwise the rate rises, or is 0 from the first step."""
    with pytest.raises(ConfigError, match="multi_step's"):
        rates({"name": "multi_step", **spec}, 2)


def test_a_users_callable_is_a_schedule() -> None:
    """Otherwise users are bound to our seven names."""

    def halve(engine: Any, *, max_epochs: int, total_steps: int, warm_up_epochs: float) -> Any:
        assert (max_epochs, total_steps, warm_up_epochs) == (10, 40, 1)
        return StepLR(engine, 1, 0.5), "epoch"

    made = make_schedule(halve, optimizer(), max_epochs=10, total_steps=40, warm_up_epochs=1)
    assert made is not None
    assert made["interval"] == "epoch"
    assert rates(halve, 3, warm_up=1) == [RATE, RATE / 2, RATE / 4]


@pytest.mark.parametrize("schedule", ["cosin", "linear_decay", None, 3], ids=repr)
def test_a_wrong_schedule_is_refused_with_the_names(schedule: Any) -> None:
    """Otherwise training runs at a constant rate after a typing error."""
    with pytest.raises(ConfigError, match=r"(cosine|linear)"):
        check_schedule(schedule)


def train_rates(schedule: str, *, warm_up_epochs: float = 0, **trainer: Any) -> list[float]:
    """The rate at every optimiser step of a real training."""
    seen: list[float] = []

    class Watched(SGD):
        def step(self, closure: Any = None) -> Any:
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    module = DistillationModule(
        mlp(1), mlp(2), optimizer=Watched, learning_rate=RATE, schedule=schedule, warm_up_epochs=warm_up_epochs
    )
    quiet_trainer(max_epochs=4, **trainer).fit(module, loader())
    return seen


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", [name for name in SCHEDULES if name])
def test_training_steps_every_schedule_at_the_rate_it_is_written_for(name: str, accumulate: int) -> None:
    """Otherwise a schedule by step advances by epoch or by micro-batch, and the rate hardly moves or ends early."""
    steps_per_epoch = math.ceil(3 / accumulate)
    total = 4 * steps_per_epoch
    by_epoch = name in ("linear_decay_with_warm_up", "cosine_anneal", "multi_step")
    alone = rates(name, 4 if by_epoch else total, max_epochs=4, total_steps=total, warm_up=1)
    expected = [rate for rate in alone for _ in range(steps_per_epoch)] if by_epoch else alone
    assert train_rates(name, warm_up_epochs=1, accumulate_grad_batches=accumulate) == pytest.approx(expected)


def test_a_stream_without_length_is_refused_for_a_schedule_that_needs_one() -> None:
    """Otherwise the schedule is over after one step, and the student learns nothing more, in silence."""
    module = DistillationModule(mlp(1), mlp(2), schedule="cosine")
    stream = torch.utils.data.DataLoader(Stream(points(16)), batch_size=8)
    with pytest.raises(ConfigError, match=r"needs the number of training steps.*no length"):
        quiet_trainer().fit(module, stream)


def test_a_stream_without_length_follows_a_schedule_when_the_trainer_says_how_many_steps() -> None:
    """Otherwise streaming data cannot be annealed at all."""
    module = DistillationModule(mlp(1), mlp(2), optimizer="sgd", learning_rate=RATE, schedule="linear")
    stream = torch.utils.data.DataLoader(Stream(points(32)), batch_size=8)
    trainer = quiet_trainer(max_epochs=-1, max_steps=4)
    trainer.fit(module, stream)
    assert trainer.global_step == 4
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "warm_up_epochs"),
    [("linear", -1), ("linear", float("nan")), ("linear", "two"), ("one_cycle", -1), ("one_cycle", 20)],
)
def test_a_warm_up_that_cannot_be_is_refused_before_training(schedule: str, warm_up_epochs: Any) -> None:
    """Otherwise it surfaces as torch's 'pct_start' from inside the trainer, or the rate is negative."""
    with pytest.raises(ConfigError, match="warm_up"):
        train_rates(schedule, warm_up_epochs=warm_up_epochs)
