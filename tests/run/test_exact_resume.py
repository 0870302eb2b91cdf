"""What goes wrong for a user when a run is broken off anywhere and goes on: it must be the run that would have been."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, WeightedRandomSampler

import knowledge_distillation as kd
from knowledge_distillation.errors import CheckpointError, Terminated
from tests.run.stopping import Jittered, StopsAt, jittered
from tests.run.test_distill import Noisy, train
from tests.training.toys import points, seeded


class Slices(Jittered):
    """Gives whole batches."""

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        return super().__getitem__(index)


class Streamed(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(points(24))


class Scores:
    """A pipeline that draws random numbers, and may be interrupted at one of its calls."""

    def __init__(self, stops_at: int = 0) -> None:
        self.left = stops_at

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        self.left -= 1
        torch.rand(3)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return {"inference_result": float(sum(p.double().sum() for p in model.parameters())) + random.random()}


CASES: dict[str, dict[str, Any]] = {
    "adam, cosine": {"optimizer": "adam", "schedule": "cosine_anneal"},
    "accumulated": {"optimizer": "adamw", "schedule": "one_cycle", "trainer": {"accumulate_grad_batches": 4}},
    "validated within": {"optimizer": "sgd", "trainer": {"val_check_interval": 2}},
    "not validated": {"optimizer": "adam", "val_loaders": None},
}


def run(directory: Path, *callbacks: Callback, loader: Any = None, pipeline: Any = None, **changes: Any) -> kd.Run:
    settings = {"student": Noisy(), "max_epochs": 2, "learning_rate": 0.01, **changes}
    return train(
        directory,
        **{
            **settings,
            "train_loader": jittered() if loader is None else loader,
            "pipeline": pipeline or Scores(),
            "trainer": {**settings.get("trainer", {}), "callbacks": list(callbacks), "log_every_n_steps": 1},
        },
    )


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of what is not equal to the bit."""
    if isinstance(one, Tensor):
        return [] if isinstance(other, Tensor) and torch.equal(one, other) else [name]
    if isinstance(one, Mapping):
        keys = {*one, *other} if isinstance(other, Mapping) else set()
        return [d for key in keys for d in differences(one.get(key), other.get(key), f"{name}.{key}")] if keys else []
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [d for i, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{name}.{i}")]
    return [] if one == other else [name]


def check_equal(directory: Path, whole: Path) -> None:
    last, expected = (torch.load(d / "checkpoints" / "last.ckpt", weights_only=True) for d in (directory, whole))
    for content in (last, expected):
        content.pop("callbacks")  # they name the directory
    assert differences(last, expected) == []
    assert (directory / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def broken_off(directory: Path, *callbacks: Callback, **changes: Any) -> None:
    with pytest.raises((KeyboardInterrupt, Terminated)):
        run(directory, *callbacks, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_at_any_batch_and_continued_is_the_run_that_would_have_been(case: str, tmp_path: Path) -> None:
    """Otherwise a job that is moved to another machine gives another student, and nobody can tell."""
    run(tmp_path / "whole", **CASES[case])
    for batch in range(1, 13):
        directory = tmp_path / f"stopped-{batch}"
        broken_off(directory, StopsAt(batch), **CASES[case])
        run(directory, resume="auto", **CASES[case])
        check_equal(directory, tmp_path / "whole")


@pytest.mark.parametrize("case", ["adam, cosine", "validated within"])
def test_ctrl_c_while_the_student_is_scored_loses_nothing(case: str, tmp_path: Path) -> None:
    """Otherwise the epoch's score is missing, or a validation is done with other random numbers."""
    run(tmp_path / "whole", **CASES[case])
    for call in range(1, 1 + (6 if case == "validated within" else 2)):
        directory = tmp_path / f"stopped-{call}"
        broken_off(directory, pipeline=Scores(call), **CASES[case])
        run(directory, resume="auto", **CASES[case])
        check_equal(directory, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["adam, cosine", "validated within", "not validated"])
def test_a_training_that_is_given_more_steps_later_is_the_one_that_had_them_at_once(case: str, tmp_path: Path) -> None:
    """Otherwise the rest of the epoch in which the first steps ended is never learnt from."""
    settings = CASES[case]
    run(tmp_path / "whole", **settings)
    for steps in (1, 4, 6, 9):
        directory = tmp_path / f"first-{steps}"
        run(directory, **{**settings, "trainer": {**settings.get("trainer", {}), "max_steps": steps}})
        run(directory, resume="auto", **settings)
        check_equal(directory, tmp_path / "whole")


def test_twice_in_one_epoch(tmp_path: Path) -> None:
    """Otherwise the second interruption counts from the first one."""
    run(tmp_path / "whole")
    broken_off(tmp_path / "run", StopsAt(2))
    broken_off(tmp_path / "run", StopsAt(2), resume="auto")
    run(tmp_path / "run", resume="auto")
    check_equal(tmp_path / "run", tmp_path / "whole")


def test_with_workers_and_another_number_of_them(tmp_path: Path) -> None:
    """Otherwise a resume on a machine with fewer cores sees other augmentations."""
    run(tmp_path / "whole")
    broken_off(tmp_path / "run", StopsAt(3), loader=jittered(2))
    run(tmp_path / "run", resume="auto", loader=jittered(1, persistent_workers=True))
    check_equal(tmp_path / "run", tmp_path / "whole")


def sampled(generator: bool) -> DataLoader[Any]:
    own = seeded(3) if generator else None
    sampler = WeightedRandomSampler(torch.arange(1.0, 25.0), 24, replacement=True, generator=own)
    return jittered(shuffle=False, sampler=sampler)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loader",
    [
        lambda: sampled(False),
        lambda: sampled(True),
        lambda: jittered(generator=seeded(5)),
        lambda: DataLoader(Slices(), batch_size=None, sampler=BatchSampler(RandomSampler(Slices()), 4, False)),
    ],
    ids=["weighted", "weighted with a generator", "generator", "no batches"],
)
def test_loaders_of_all_kinds(loader: Any, tmp_path: Path) -> None:
    """Otherwise only plain shuffling is exact."""
    run(tmp_path / "whole", loader=loader())
    for batch in (1, 4, 8):
        broken_off(tmp_path / f"run-{batch}", StopsAt(batch), loader=loader())
        run(tmp_path / f"run-{batch}", resume="auto", loader=loader())
        check_equal(tmp_path / f"run-{batch}", tmp_path / "whole")


def test_a_stream_is_walked_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a stream starts over, and the first samples are learnt twice."""
    caplog.set_level("INFO")
    seen: list[float] = []

    class Listens(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(float(batch[0].sum()))

    run(tmp_path / "whole", Listens(), loader=DataLoader(Streamed(), batch_size=4), max_epochs=1)
    whole = list(seen)
    seen.clear()
    broken_off(tmp_path / "run", Listens(), StopsAt(3), loader=DataLoader(Streamed(), batch_size=4), max_epochs=1)
    run(tmp_path / "run", Listens(), resume="auto", loader=DataLoader(Streamed(), batch_size=4), max_epochs=1)
    assert seen == whole
    assert "reads a stream" in caplog.text


def test_the_learned_parts_of_a_loss_and_a_teacher_that_follows(tmp_path: Path) -> None:
    """Otherwise a memory bank or a learned temperature starts over."""
    for name in ("ctkd", "crd"):
        settings: dict[str, Any] = {"objective": {"it": kd.Term("ctkd")}} if name == "ctkd" else {"objective": "ctkd"}
        run(tmp_path / name, **settings)
        broken_off(tmp_path / f"{name}-stopped", StopsAt(5), **settings)
        run(tmp_path / f"{name}-stopped", resume="auto", **settings)
        check_equal(tmp_path / f"{name}-stopped", tmp_path / name)


def test_auto_passes_over_a_damaged_checkpoint_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise one bad block on the disk loses the run."""
    run(tmp_path / "whole", max_epochs=3)
    run(tmp_path / "run", max_epochs=2)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    run(tmp_path / "run", max_epochs=3, resume="auto")
    assert "last.ckpt is damaged" in caplog.text
    check_equal(tmp_path / "run", tmp_path / "whole")


def test_where_every_checkpoint_is_damaged_the_user_is_told(tmp_path: Path) -> None:
    """Otherwise the run starts over as if nothing had been there."""
    run(tmp_path / "run", max_epochs=1)
    for path in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="None of the 2 checkpoints"):
        run(tmp_path / "run", max_epochs=2, resume="auto")


def test_checkpoints_within_an_epoch_come_as_often_as_asked(tmp_path: Path) -> None:
    """Otherwise a crash in an epoch of ten hours costs ten hours."""
    found: list[int] = []

    class Looks(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            path = tmp_path / "run" / "checkpoints" / "last.ckpt"
            found.append(torch.load(path, weights_only=True)["global_step"] if path.exists() else 0)

    run(tmp_path / "run", Looks(), checkpoint_every=2, max_epochs=1)
    assert found == [0, 0, 2, 2, 4, 4]
