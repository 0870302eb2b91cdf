"""What goes wrong for a user when a training is made faster."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor, nn

import knowledge_distillation as kd
from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.reading import read_recipe, shipped
from knowledge_distillation.training.speed import Settings, check_speed
from tests.ranks import Ranks, results
from tests.training.speed_toys import IMAGES, Cnn, faster_in_channels_last, pretend, strides, train, without_dropout
from tests.training.toys import (
    flags,
    hooks_on,
    identical,
    loader,
    mlp,
    quiet_trainer,
    snapshot,
)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_losses_are_those_of_the_unchanged_training(monkeypatch: pytest.MonkeyPatch, accumulate: int) -> None:
    """Otherwise a faster training is another training."""
    keep = {"accumulate_grad_batches": accumulate}
    module, fast = train(
        "auto",
        student=without_dropout(Cnn(1)),
        before=lambda module: pretend(monkeypatch, module, faster_in_channels_last),
        **keep,
    )
    plain, slow = train("off", student=without_dropout(Cnn(1)), **keep)
    assert module.speed.chosen == Settings(channels_last=True)
    assert fast == pytest.approx(slow, rel=1e-4)
    for name, tensor in plain.student_model.state_dict().items():
        torch.testing.assert_close(module.student_model.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)


class Snapshots(Callback):
    """Everything that measuring may not touch, right before and right after it."""

    def __init__(self, module: DistillationModule, teacher: nn.Module) -> None:
        self.taken: list[dict[str, Any]] = []
        self.module, self.teacher = module, teacher
        real = module.training_step

        def training_step(batch: Any, batch_idx: int) -> Tensor:
            if batch_idx == 0:
                self.take()
            return real(batch, batch_idx)

        object.__setattr__(module, "training_step", training_step)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.take()

    def take(self) -> None:
        student = self.module.student_model
        self.taken.append(
            {
                "student": snapshot(student),
                "teacher": snapshot(self.teacher),
                "strides": (strides(student), strides(self.teacher)),
                "flags": (flags(student), flags(self.teacher)),
                "gradients": [parameter.grad for parameter in student.parameters()],
                "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
                "buffers": [id(buffer) for buffer in student.buffers()],
                "hooks": hooks_on(student),
            }
        )


def test_measuring_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise batch statistics have seen the first batch twenty times, or the run draws other random numbers."""
    teacher, student = Cnn(2, 6), Cnn(1)
    module = DistillationModule(student, teacher, "kd", speed="auto")
    timed = pretend(monkeypatch, module, lambda settings: 1.0)
    watch = Snapshots(module, teacher)
    quiet_trainer(max_steps=1, callbacks=[watch]).fit(module, IMAGES)
    before, after = watch.taken
    assert len(timed) > 4
    assert {settings.channels_last for settings in timed} == {False, True}
    assert identical(before.pop("student"), after.pop("student"))
    assert identical(before.pop("teacher"), after.pop("teacher"))
    assert before == after


def test_a_run_that_changed_nothing_is_the_run_without_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise asking costs reproducibility even where it gives nothing."""
    module, asked = train("auto", before=lambda module: pretend(monkeypatch, module, lambda settings: 1.0))
    _, off = train("off")
    assert module.speed.chosen == Settings()
    assert "nothing changed" in module.speed.line
    assert "which is not 5% faster" in module.speed.line
    assert asked == off


def test_models_come_back_as_they_were(tmp_path: Path) -> None:
    """Otherwise the user gets a student that other tools refuse to save, or a teacher that is another one."""
    teacher, student = Cnn(2, 6), Cnn(1)
    teacher.stem.requires_grad_(False)
    was, forms, marks = snapshot(teacher), (strides(teacher), strides(student)), flags(teacher)
    seen: list[bool] = []

    class During(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            weights = (student.stem.weight, teacher.stem.weight)
            seen.append(all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights))
            trainer.save_checkpoint(tmp_path / "during.ckpt")
            save_model(student, str(tmp_path / "during.safetensors"))

    module, _ = train({"channels_last": True}, student=student, teacher=teacher, callbacks=[During()])
    assert seen == [True] * 8
    assert (strides(teacher), strides(student)) == forms
    assert identical(snapshot(teacher), was)
    assert flags(teacher) == marks
    assert hooks_on(teacher) == hooks_on(student) == 0
    save_file(student.state_dict(), str(tmp_path / "after.safetensors"))
    module.trainer.save_checkpoint(tmp_path / "after.ckpt")
    for place in ("during", "after"):
        saved = torch.load(tmp_path / f"{place}.ckpt", weights_only=True)
        tensors = [*saved["state_dict"].values()]
        tensors += [entry for state in saved["optimizer_states"][0]["state"].values() for entry in state.values()]
        assert all(tensor.is_contiguous() for tensor in tensors)
        weights = load_file(tmp_path / f"{place}.safetensors")
        assert identical(weights, snapshot(student))
        kept = {name.removeprefix("student_model."): tensor for name, tensor in saved["state_dict"].items()}
        assert identical(kept, snapshot(student))


def test_optimiser_states_lie_as_their_parameters(tmp_path: Path) -> None:
    """Otherwise fused optimisers, which read both as plain memory, mix up the weights after a resume."""
    module, _ = train("off")
    module.trainer.save_checkpoint(tmp_path / "plain.ckpt")
    seen: list[bool] = []

    class During(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            for parameter, state in trainer.optimizers[0].state.items():
                seen.append(state["exp_avg"].stride() == parameter.stride())

    fast = DistillationModule(Cnn(1), Cnn(2, 6), "kd", learning_rate=0.01, speed={"channels_last": True})
    trainer = quiet_trainer(max_epochs=3, callbacks=[During()])
    trainer.fit(fast, IMAGES, ckpt_path=tmp_path / "plain.ckpt", weights_only=True)
    assert seen
    assert all(seen)
    for parameter, state in trainer.optimizers[0].state.items():
        assert state["exp_avg"].stride() == parameter.stride()


def test_a_model_that_depends_on_the_layout_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a setting that changes the numbers is taken because it is fast."""

    def layout(hidden: Tensor) -> Tensor:
        return hidden if hidden.is_contiguous() else 2 * hidden

    def faster(module: DistillationModule) -> None:
        pretend(monkeypatch, module, faster_in_channels_last)

    module, _ = train("auto", student=Cnn(1, read=layout), before=faster)
    assert module.speed.chosen == Settings()
    assert "channels_last changes the loss by" in module.speed.line
    module, _ = train("auto", teacher=Cnn(2, 6, read=layout), before=faster)
    assert module.speed.chosen == Settings()
    assert "channels_last changes the" in module.speed.line


def test_a_setting_that_fails_is_skipped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `view` in somebody's model, or a compiler that is not there, ends the training."""

    def viewed(hidden: Tensor) -> Tensor:
        return hidden.view(hidden.shape[0], -1).view(hidden.shape)

    module, losses = train(
        "auto",
        student=Cnn(1, read=viewed),
        before=lambda module: pretend(monkeypatch, module, faster_in_channels_last),
    )
    assert len(losses) == 8
    assert "channels_last failed (RuntimeError: view size is not compatible" in module.speed.line


@pytest.mark.parametrize("logged", [True, False])
def test_what_was_chosen_is_said_in_one_place(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], logged: bool
) -> None:
    """Otherwise who asked for speed reads nothing where logging shows no such lines, or reads it twice."""
    caplog.set_level(logging.INFO if logged else logging.WARNING, logger="knowledge_distillation.training.speed")
    module, _ = train({"channels_last": True})
    places = {"log": caplog.text, "stderr": capsys.readouterr().err}
    assert [name for name, text in places.items() if module.speed.line in text] == ["log" if logged else "stderr"]


def test_without_a_handler_the_choice_is_still_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A level alone shows nothing: the line went to a log that nobody had set up."""
    monkeypatch.setattr(logging.getLogger("knowledge_distillation.training.speed"), "propagate", False)
    logging.getLogger("knowledge_distillation.training.speed").setLevel(logging.INFO)
    module, _ = train({"channels_last": True})
    assert module.speed.line in capsys.readouterr().err


def test_a_step_that_cannot_be_repeated_is_taken_as_it_is() -> None:
    """Otherwise activation checkpointing, which `torch.autograd.grad` refuses, ends the training."""

    def checkpointed(hidden: Tensor) -> Tensor:
        result: Tensor = torch.utils.checkpoint.checkpoint(torch.tanh, hidden, use_reentrant=True)
        return result

    module, losses = train("auto", student=Cnn(1, read=checkpointed))
    assert len(losses) == 8
    assert "the first step cannot be repeated" in module.speed.line


def test_a_setting_that_wins_by_one_lucky_round_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a hiccup of the machine decides."""
    steps = iter(range(1000))

    def lucky(settings: Settings) -> float:
        step = next(steps)
        return (0.5 if step == 3 else 2.1) if settings.channels_last else 2.0

    module, _ = train("auto", before=lambda module: pretend(monkeypatch, module, lucky))
    assert module.speed.chosen == Settings()


def test_two_models_without_anything_to_try_say_so() -> None:
    """Otherwise the user waits for a speed-up that cannot come."""
    module = DistillationModule(mlp(1), mlp(2), "kd", speed="auto")
    quiet_trainer().fit(module, loader())
    assert "no faster setting fits" in module.speed.line
    asked = DistillationModule(mlp(1), mlp(2), "kd", speed={"channels_last": True})
    quiet_trainer().fit(asked, loader())
    assert "Without effect on these models: channels_last" in asked.speed.line


@pytest.mark.parametrize(
    ("speed", "message"),
    [
        ("atuo", "Did you mean 'auto'"),
        (True, "Known: auto, off"),
        (3, "Known: auto, off"),
        ({"chanels_last": True}, "Did you mean 'channels_last'"),
        ({"channels_last": "yes"}, "channels_last must be true or false"),
        ({"compile": "techer"}, "Did you mean 'teacher'"),
        ({"compile": ["teacher"]}, "speed's compile has no"),
        ({"teacher_precision": "float8"}, "Known: bfloat16, float16, same"),
    ],
)
def test_an_unknown_speed_is_refused_with_the_nearest(speed: Any, message: str, tmp_path: Path) -> None:
    """Otherwise a misspelt word is taken for "off", and the user measures nothing."""
    with pytest.raises(ConfigError, match=message):
        DistillationModule(Cnn(1), Cnn(2), "kd", speed=speed)
    with pytest.raises(ConfigError, match=message):
        kd.distill(Cnn(2), Cnn(1), IMAGES, directory=tmp_path / "run", speed=speed)
    assert not (tmp_path / "run").exists()


def test_a_recipe_names_speed_as_a_call_does() -> None:
    """Otherwise YAML's own reading of the word off refuses it."""
    for word, meant in (("auto", "auto"), ("off", "off"), ("{channels_last: true}", Settings(channels_last=True))):
        recipe = read_recipe(next(iter(shipped())), [f"training.speed={word}"])
        assert check_speed(recipe.training["speed"]) == meant


def test_the_run_writes_down_what_was_chosen(tmp_path: Path) -> None:
    """Otherwise a run cannot be repeated: whether a setting was taken depends on the clock."""
    run = kd.distill(
        Cnn(2, 6), Cnn(1), list(IMAGES), directory=tmp_path / "run", max_epochs=1, speed={"channels_last": True},
        trainer={"accelerator": "cpu", "enable_progress_bar": False},
    )  # fmt: skip
    assert json.loads((run.directory / "environment.json").read_text())["speed"]["channels_last"] is True


def test_a_resumed_run_keeps_what_was_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise the second half of a run adds up in another order than the first, by chance."""
    faster = lambda module: pretend(monkeypatch, module, faster_in_channels_last)  # noqa: E731
    module, _ = train("auto", before=faster)
    module.trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = DistillationModule(Cnn(1), Cnn(2, 6), "kd", learning_rate=0.01, speed="auto")
    timed = pretend(monkeypatch, resumed, lambda settings: 1.0)
    quiet_trainer(max_epochs=3).fit(resumed, IMAGES, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert resumed.speed.chosen == Settings(channels_last=True)
    assert not timed


# -- several processes -------------------------------------------------------------------------------------------------


def test_two_processes_choose_as_one(tmp_path: Path) -> None:
    """Otherwise ranks train with different settings because their clocks differ, and wait for each other."""
    done = Ranks(Path(__file__).with_name("speed_in_two_processes.py"), tmp_path, directory=tmp_path).wait()
    assert [one.returncode for one in done] == [0, 0], done[0].stderr[-3000:]
    first, second = results(tmp_path)
    assert first["chosen"] == second["chosen"]
    assert first["chosen"]["channels_last"] is True  # the first process found it faster, the second slower
    assert first["refused"] == second["refused"] == "speed: nothing changed"  # the second process did not agree
    assert first["weights"] == second["weights"]
    assert sum(one.stderr.count("speed: channels_last") for one in done) == 1
