"""What goes wrong for a user when a checkpoint is half written, damaged, or not finite."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from knowledge_distillation.errors import CheckpointError, NonFiniteError
from knowledge_distillation.training.durable_files import check_finite, read_checkpoint, write_checkpoint
from tests.training.limits import files_of


def content(value: float = 1.0) -> dict[str, Any]:
    return {"state_dict": {"w": torch.full((2000,), value)}, "optimizer_states": [{"state": {0: {"m": torch.ones(3)}}}]}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Otherwise nothing else here means anything; and torch itself must be able to read it."""
    path = tmp_path / "a" / "last.ckpt"
    write_checkpoint(content(2.0), path)
    assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.full((2000,), 2.0))
    assert torch.equal(torch.load(path, weights_only=True)["state_dict"]["w"], torch.full((2000,), 2.0))
    assert read_checkpoint(path).keys() == content().keys()
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("kind", ["flip", "cut", "swap"])
def test_every_damage_is_seen(kind: str, tmp_path: Path) -> None:
    """Otherwise a run goes on from wrong weights: torch reads three flipped files in four without a word."""
    path, draws = tmp_path / "last.ckpt", random.Random(1)
    write_checkpoint(content(), path)
    whole = path.read_bytes()
    for _ in range(200 if kind == "flip" else 50):
        data = bytearray(whole)
        place = draws.randrange(len(data))
        if kind == "flip":
            data[place] ^= 1 << draws.randrange(8)
        elif kind == "cut":
            del data[place:]
        else:
            other = draws.randrange(len(data) - 64)
            data[other : other + 64] = bytes(64 * [draws.randrange(256)])
        if bytes(data) == whole:
            continue
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"last\.ckpt"):
            read_checkpoint(path)


@pytest.mark.parametrize("size", [0, 100, 4096, 9000])
def test_a_full_disk_leaves_the_earlier_checkpoint_and_names_path_and_bytes(size: int, tmp_path: Path) -> None:
    """Otherwise the disk that fills up at night costs the run of a week."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    write_checkpoint(content(1.0), path)

    message = rf"{path}.*File too large.*8,012 bytes.*earlier file there is as it was"
    with files_of(size), pytest.raises(CheckpointError, match=message):
        write_checkpoint(content(2.0), path)
    assert float(read_checkpoint(path)["state_dict"]["w"][0]) == 1.0
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Otherwise the user reads an error of a library about a file that was never theirs."""
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"checkpoints/last\.ckpt could not be written"):
        write_checkpoint(content(), tmp_path / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("place", ["state_dict", "optimizer_states"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(place: str, value: float) -> None:
    """Otherwise the broken state rotates the good checkpoints out."""
    broken = content()
    tensor = broken["state_dict"]["w"] if place == "state_dict" else broken["optimizer_states"][0]["state"][0]["m"]
    check_finite(broken)
    tensor[1] = value
    with pytest.raises(NonFiniteError, match=rf"{place}\.\S+ holds NaN or infinite values"):
        check_finite(broken)


def test_a_mask_that_was_always_infinite_is_no_fault(tmp_path: Path) -> None:
    """Otherwise no model with a causal mask among its buffers could be saved."""
    check_finite({"state_dict": {"mask": torch.tensor([-float("inf")]), "w": torch.ones(2)}}, given={"mask"})


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """Otherwise a downloaded checkpoint owns the machine."""
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {canary}",)

    torch.save({"state_dict": {}, "hyper": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not canary.exists()


def test_a_checkpoint_of_adam_is_three_times_the_student(tmp_path: Path) -> None:
    """Otherwise something else travels along, such as the teacher."""
    student = torch.nn.Linear(300, 300)
    optimizer = torch.optim.Adam(student.parameters())
    student(torch.ones(2, 300)).sum().backward()
    optimizer.step()
    path = tmp_path / "last.ckpt"
    write_checkpoint({"state_dict": student.state_dict(), "optimizer_states": [optimizer.state_dict()]}, path)
    assert path.stat().st_size <= 3.05 * sum(p.numel() * 4 for p in student.parameters()) + 65536
