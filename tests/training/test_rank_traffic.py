"""What goes wrong for a user when processes send each other more than they must: above all the teacher."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.ranks import run_ranks
from tests.training import rank_losses, skipping_ranks
from tests.training.rank_losses import STEPS


def trained(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """What each of two processes saw."""
    told = json.dumps({"processes": 2, "batch": 4, "objective": "hint", **settings})
    return run_ranks(Path(rank_losses.__file__), folder, told)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_only_what_is_trained_is_sent_and_saved(accumulate: int, tmp_path: Path) -> None:
    """Otherwise a teacher of 7 billion parameters is in every all-reduce, or in every checkpoint."""
    for found in trained(tmp_path, accumulate=accumulate):
        quiet = [0] * (accumulate - 1)
        assert found["sent"] == [*quiet, found["trained"]] * STEPS
        assert found["buffers"] == []  # the teacher has batch statistics, the student none
        assert {name.partition(".")[0] for name in found["saved"]} == {"student_model", "objective"}
        assert found["teacher same"]


@pytest.mark.slow
def test_a_sharded_teacher_teaches_as_a_whole_one(tmp_path: Path) -> None:
    """Otherwise a teacher that fits on no device cannot teach, or is put together on each."""
    whole, parts = trained(tmp_path / "whole"), trained(tmp_path / "parts", teacher_sharded=True)
    for one, other in zip(whole, parts, strict=True):
        assert one["losses"] == pytest.approx(other["losses"], rel=1e-6)
        assert other["teacher same"]
        assert other["sent"] == one["sent"]


@pytest.mark.slow
def test_a_memory_of_all_samples_is_equal_in_all_processes_and_never_sent(tmp_path: Path) -> None:
    """Otherwise a bank of a million samples, a gigabyte, is sent before every step, or the processes drift apart."""
    one, other = trained(tmp_path, objective="memory")
    assert one["memories"] == other["memories"]
    assert {name.rpartition(".")[2] for name in one["memories"]} == {"queue", "position"}
    assert one["buffers"] == []


def test_a_step_that_one_process_leaves_out_is_left_out_by_all(tmp_path: Path) -> None:
    """Otherwise the processes train two students from then on, and only one is saved."""
    one, other = run_ranks(Path(skipping_ranks.__file__), tmp_path)
    assert one == other
    left_out = [after == before for before, after in pairwise(one["weights"])]
    assert left_out == [number == skipping_ranks.BAD for number in range(2, 1 + len(one["weights"]))]
