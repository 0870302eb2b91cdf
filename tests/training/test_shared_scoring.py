"""What goes wrong for a user when several processes share a validation: samples are lost or scored twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ranks import run_ranks
from tests.training import shared_ranks
from tests.training.shared_ranks import BATCH, COUNT
from tests.training.toys import points

EVERY = sorted(points(COUNT, 5).tensors[0][:, 0].tolist())
SHARED = ("in order", "shuffled", "shared already", "workers")


@pytest.fixture(scope="module", params=[2, 3], ids=["2 processes", "3 processes"])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process saw."""
    return run_ranks(Path(shared_ranks.__file__), tmp_path_factory.mktemp("shared"), count=request.param)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_every_sample_is_scored_once_and_none_twice(name: str, processes: list[dict[str, Any]]) -> None:
    """Otherwise the score is that of other data, as where samples are repeated to give all processes as many."""
    seen = [found[name]["seen"] for found in processes]
    assert sorted(value for each in seen for value in each) == EVERY
    assert all(len(each) < COUNT for each in seen)


@pytest.mark.parametrize("name", SHARED)
def test_the_score_is_that_of_one_process(name: str, processes: list[dict[str, Any]]) -> None:
    """Otherwise uneven last batches, or batch statistics of another process, change the score."""
    scores = {found[name]["score"] for found in processes}
    assert scores == {processes[0][name]["alone"]}
    assert all(found[name]["norm"] == processes[0][name]["norm"] for found in processes)


def test_a_last_batch_that_is_left_out_is_left_out_once(processes: list[dict[str, Any]]) -> None:
    """Otherwise each process leaves out another one, and samples are scored twice."""
    seen = sorted(value for found in processes for value in found["cut"]["seen"])
    assert len(seen) == COUNT // BATCH * BATCH
    assert len(set(seen)) == len(seen)


def test_random_transforms_draw_for_each_sample(processes: list[dict[str, Any]]) -> None:
    """Otherwise two processes make the same noise, or score one sample in two views."""
    seen = sorted(value for found in processes for value in found["augmented"]["seen"])
    assert [int(value) for value in seen] == list(range(COUNT))
    assert len({round(value % 1, 6) for value in seen}) > COUNT // 2


def test_fewer_batches_than_processes_leave_some_idle(processes: list[dict[str, Any]]) -> None:
    """Otherwise a process without a batch fails, or the others wait for it."""
    assert [len(found["one batch"]["seen"]) for found in processes] == [COUNT] + [0] * (len(processes) - 1)
    assert len({found["one batch"]["score"] for found in processes}) == 1


def test_a_stream_is_scored_whole_by_the_first_process(processes: list[dict[str, Any]]) -> None:
    """Otherwise each process scores all of it, or a part that nobody can name."""
    assert [len(found["stream"]["seen"]) for found in processes] == [COUNT] + [0] * (len(processes) - 1)
    assert {found["stream"]["score"] for found in processes} == {processes[0]["stream"]["alone"]}


def test_a_users_own_pipeline_runs_whole_in_the_first_process(processes: list[dict[str, Any]]) -> None:
    """Otherwise a number that cannot be put together is averaged, which is another number."""
    assert [found["own pipeline"]["calls"] for found in processes] == [1] + [0] * (len(processes) - 1)
    assert {found["own pipeline"]["score"] for found in processes} == {0.25}
