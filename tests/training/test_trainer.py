"""What goes wrong for a user when the Trainer's arguments are lost, or its refusals are unreadable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.profilers import SimpleProfiler

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.training.trainer import checkpoint_callback, make_trainer, trainer_with
from tests.training.toys import QUIET, Scripted


def built(directory: Path, **overrides: Any) -> Any:
    return make_trainer(
        directory,
        max_epochs=3,
        loggers=[],
        metric="test",
        pipeline=Scripted(1.0),
        steps_per_epoch=7,
        overrides={**QUIET, **overrides},
    )


def test_a_misspelt_trainer_argument_shows_the_near_one(tmp_path: Path) -> None:
    """Otherwise the user reads a TypeError of another library."""
    with pytest.raises(ConfigError, match=r"acumulate_grad_batches.*Did you mean 'accumulate_grad_batches'"):
        built(tmp_path, acumulate_grad_batches=2)


def test_nothing_is_timed_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Otherwise every small step pays for a profiler that says nothing, or one that is asked for stays silent."""
    quiet = built(tmp_path).profiler
    with quiet.profile("a"), quiet.profile("a"):
        pass
    assert quiet.summary() == ""
    assert isinstance(built(tmp_path, profiler="simple").profiler, SimpleProfiler)


@pytest.mark.parametrize(
    "wrong", [{"precision": "17"}, {"accelerator": "abacus"}, {"limit_train_batches": -3}], ids=str
)
def test_a_refused_value_is_an_input_error(wrong: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise the command line reports a failed run instead of wrong input."""
    with pytest.raises(ConfigError, match="trainer cannot be built"):
        trainer_with({**QUIET, "logger": False, **wrong})


def test_the_users_arguments_and_callbacks_win_and_ours_stay(tmp_path: Path) -> None:
    """Otherwise a callback of the user silently replaces checkpointing, or is dropped."""
    mine = Callback()
    for given in (mine, [mine]):
        trainer = built(tmp_path, callbacks=given, accumulate_grad_batches=3, log_every_n_steps=2)
        assert mine in trainer.callbacks
        assert any(isinstance(callback, ModelCheckpoint) for callback in trainer.callbacks)
        assert trainer.accumulate_grad_batches == 3
        assert trainer.log_every_n_steps == 2
    assert built(tmp_path).log_every_n_steps == 7


def test_checkpointing_can_be_switched_off(tmp_path: Path) -> None:
    """Otherwise Lightning refuses the combination."""
    trainer = built(tmp_path, enable_checkpointing=False)
    assert not any(isinstance(callback, (ModelCheckpoint, LearningRateMonitor)) for callback in trainer.callbacks)


@pytest.mark.parametrize(
    ("metric", "pipeline", "monitor", "mode"),
    [
        ("test", Scripted(), "test", "max"),
        ("test", Scripted(higher_is_better=False), "test", "min"),
        ("test_loss", Scripted(), "test_loss", "min"),
        (None, None, "train_final_loss_epoch", "min"),
    ],
)
def test_the_best_checkpoint_is_chosen_in_the_right_direction(
    metric: Any, pipeline: Any, monitor: str, mode: str, tmp_path: Path
) -> None:
    """Otherwise the worst student is delivered."""
    callback = checkpoint_callback(tmp_path, metric=metric, pipeline=pipeline)
    assert (callback.monitor, callback.mode) == (monitor, mode)
