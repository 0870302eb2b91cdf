"""What goes wrong for a user when a run is continued, or its directory is in use."""

from __future__ import annotations

import hashlib
import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import knowledge_distillation as kd
from knowledge_distillation.errors import CheckpointError, ConfigError
from tests.run.test_distill import Noisy, train
from tests.training.toys import identical, loader, mlp, no_warning, snapshot

SETTINGS: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.01, "schedule": "cosine_anneal"}


def contents(directory: Path) -> dict[str, str]:
    """Every file and its digest."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(directory.rglob("*"))
    }


class Stop(Exception):
    """Stands for a power cut."""


class FailsAfter:
    """A pipeline that gives 0.5 so many times, and then breaks off the run."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        if self.calls == 0:
            raise Stop
        self.calls -= 1
        for _ in data_loader:
            pass
        return {"inference_result": 0.5}


@pytest.mark.parametrize("student", [lambda: mlp(1), Noisy], ids=["plain", "random forward"])
@pytest.mark.parametrize("how", ["auto", "path"])
def test_a_run_broken_off_and_continued_equals_an_uninterrupted_one(how: str, student: Any, tmp_path: Path) -> None:
    """Otherwise a crash costs the result: other weights, other order of the data, or more epochs than asked."""
    whole = train(tmp_path / "whole", student=student(), pipeline=FailsAfter(99), max_epochs=4, **SETTINGS)
    with pytest.raises(Stop):
        train(tmp_path / "cut", student=student(), pipeline=FailsAfter(2), max_epochs=4, **SETTINGS)
    resume = "auto" if how == "auto" else tmp_path / "cut" / "checkpoints" / "last.ckpt"
    continued = train(
        tmp_path / "cut", student=student(), pipeline=FailsAfter(99), max_epochs=4, resume=resume, **SETTINGS
    )
    assert continued.module.trainer.current_epoch == whole.module.trainer.current_epoch == 4
    assert continued.module.trainer.global_step == whole.module.trainer.global_step == 12
    assert identical(snapshot(continued.student), snapshot(whole.student))


def test_continuing_a_finished_run_for_more_epochs_adds_only_those(tmp_path: Path) -> None:
    """Otherwise 'two epochs more' trains all of them again, or none."""
    train(tmp_path / "run", max_epochs=2, **SETTINGS)
    longer = train(tmp_path / "run", max_epochs=3, resume="auto", **SETTINGS)
    assert longer.module.trainer.global_step == 9
    whole = train(tmp_path / "whole", max_epochs=3, **SETTINGS)
    assert identical(snapshot(longer.student), snapshot(whole.student))


def test_continuing_gives_no_warning(tmp_path: Path) -> None:
    """Otherwise every resume asks the user whether the folder of checkpoints should be empty."""
    train(tmp_path / "run", max_epochs=1)
    with no_warning():
        train(tmp_path / "run", max_epochs=2, resume="auto")


def test_continuing_keeps_the_learned_parts_of_the_objective(tmp_path: Path) -> None:
    """Otherwise a connector starts anew beside a trained student."""

    def objective() -> dict[str, Any]:
        torch.manual_seed(0)
        hint = kd.Term(nn.MSELoss(), student="hidden", teacher="hidden", projector=nn.Linear(8, 6))
        return {"kd": 1.0, "hint": hint}

    def run(name: str, epochs: int, resume: str | None = None) -> kd.Run:
        return train(
            tmp_path / name,
            teacher=mlp(9, hidden=6),
            objective=objective(),
            max_epochs=epochs,
            resume=resume,
            **SETTINGS,
        )

    whole = run("whole", 3)
    run("cut", 2)
    continued = run("cut", 3, "auto")
    assert identical(snapshot(continued.module.objective), snapshot(whole.module.objective))
    assert not identical(snapshot(continued.module.objective), snapshot(kd.Objective(objective())))


def test_a_checkpoint_holds_plain_data_only_and_never_the_teacher(tmp_path: Path) -> None:
    """Otherwise loading it can run code, or it is as large as the teacher."""
    run = train(tmp_path / "run", max_epochs=1)
    saved = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == {f"student_model.{name}" for name in run.student.state_dict()}


def test_an_occupied_directory_is_refused_and_not_touched(tmp_path: Path) -> None:
    """Otherwise a forgotten argument overwrites a week of training."""
    train(tmp_path / "run", max_epochs=1)
    before = contents(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"already holds a run.*resume='auto'"):
        train(tmp_path / "run", max_epochs=1)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("file", ["metrics.csv", "student.safetensors", "checkpoints"])
def test_any_trace_of_a_run_counts_as_occupied(file: str, tmp_path: Path) -> None:
    """Otherwise the remains of a run that crashed early are overwritten."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / file).mkdir() if file == "checkpoints" else (tmp_path / "run" / file).touch()
    with pytest.raises(ConfigError, match="already holds a run"):
        train(tmp_path / "run")


def test_an_empty_resume_does_not_open_an_occupied_directory(tmp_path: Path) -> None:
    """Otherwise `--resume "$UNSET"` in a job script overwrites the run it meant to continue."""
    train(tmp_path / "run", max_epochs=1)
    before = contents(tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run"):
        train(tmp_path / "run", max_epochs=1, resume="")
    assert contents(tmp_path / "run") == before


def test_other_files_in_the_directory_stay(tmp_path: Path) -> None:
    """Otherwise users cannot keep notes beside a run."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    run = train(tmp_path / "run", max_epochs=1)
    assert (run.directory / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("resume", ["auto", "elsewhere/last.ckpt"])
def test_nothing_to_resume_from_is_an_error(resume: str, tmp_path: Path) -> None:
    """Otherwise a wrong path silently starts from zero."""
    with pytest.raises(CheckpointError, match=r"no checkpoint to resume from at .*last\.ckpt"):
        train(tmp_path / "run", resume=resume)


@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_damaged_checkpoint_is_named(damage: str, tmp_path: Path) -> None:
    """Otherwise the user sees an unpickling error without the file's name."""
    train(tmp_path / "run", max_epochs=1)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"\x00noise" * 100)
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        train(tmp_path / "run", max_epochs=2, resume=path)


def test_a_checkpoint_of_another_student_is_refused_as_such(tmp_path: Path) -> None:
    """Otherwise the user reads a list of tensor shapes and not what to do."""
    train(tmp_path / "run", max_epochs=1)
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        train(tmp_path / "run", student=mlp(1, hidden=16), max_epochs=2, resume="auto")


def test_ctrl_c_leaves_a_run_that_can_be_continued(tmp_path: Path) -> None:
    """Otherwise stopping a long training by hand loses it, or ends the user's program with SystemExit."""

    class Interrupts(FailsAfter):
        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
            if self.calls == 0:
                raise KeyboardInterrupt
            return super().run_inference_pipeline(model, data_loader)

    handler = signal.getsignal(signal.SIGINT)
    try:
        with suppress(KeyboardInterrupt):
            train(tmp_path / "run", pipeline=Interrupts(2), max_epochs=4, **SETTINGS)
        left = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert left == handler
    continued = train(tmp_path / "run", pipeline=FailsAfter(99), max_epochs=4, resume="auto", **SETTINGS)
    assert continued.module.trainer.global_step == 12
    assert json.loads((continued.directory / "environment.json").read_text())["interrupted"] is False


def test_continuing_a_one_cycle_schedule_for_more_epochs_says_why_not(tmp_path: Path) -> None:
    """Otherwise the last epochs die with torch's 'tried to step n times'."""
    train(tmp_path / "run", max_epochs=1, schedule="one_cycle")
    with pytest.raises(CheckpointError, match=r"one_cycle schedule was planned for 3 steps.*has 6"):
        train(tmp_path / "run", max_epochs=2, schedule="one_cycle", resume="auto")


def test_the_loader_goes_on_shuffling_differently_after_a_resume(tmp_path: Path) -> None:
    """Otherwise every continued epoch repeats the order of the first."""
    orders: list[list[float]] = []

    class Recording(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(1)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.training:
                orders.append(inputs[:, 0].tolist())
            return self.net(inputs)

    def epochs(name: str, count: int, resume: str | None = None) -> list[list[float]]:
        orders.clear()
        train(
            tmp_path / name, student=Recording(), train_loader=loader(24, shuffle=True), max_epochs=count, resume=resume
        )
        return list(orders)

    whole = epochs("whole", 3)
    epochs("cut", 2)
    assert epochs("cut", 3, "auto") == whole[6:]
