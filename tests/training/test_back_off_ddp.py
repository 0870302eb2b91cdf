"""What goes wrong for a user when memory runs out in one of several processes that train together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ranks import run_ranks
from tests.training import memory_ranks

pytestmark = pytest.mark.slow

FORWARD, BACKWARD = "forward", "backward"
SMALL = {"bucket_cap_mb": 1e-4}
"""Each parameter is sent as soon as its gradient is there."""

WHERE: dict[str, list[dict[int, str]]] = {
    "forward, the second process": [{}, {3: FORWARD}],
    "forward, the first process": [{3: FORWARD}, {}],
    "forward, both, at different steps and sizes": [{2: FORWARD, 3: FORWARD}, {4: FORWARD}],
    "forward, the very first pass": [{}, {1: FORWARD}],
    "backward, the second process": [{}, {3: BACKWARD}],
    "backward, the first process": [{2: BACKWARD}, {}],
    "backward, both, at different steps": [{2: BACKWARD}, {3: BACKWARD}],
    "backward, the very first pass": [{1: BACKWARD}, {}],
    "backward of the first part": [{}, {3: FORWARD, 4: BACKWARD}],
    "backward of the last part": [{}, {3: FORWARD, 5: BACKWARD}],
    "backward of the parts that make up for another": [{}, {3: BACKWARD, 5: BACKWARD, 7: FORWARD}],
}
HOW: dict[str, dict[str, Any]] = {
    "plain": {},
    "small buckets": {"settings": SMALL},
    "views of buckets": {"settings": {**SMALL, "gradient_as_bucket_view": True}},
    "unused parameters": {"settings": {**SMALL, "find_unused_parameters": True}, "unused": True},
    "two batches to a step": {"settings": SMALL, "accumulate": 2},
    "views, two batches to a step": {"settings": {**SMALL, "gradient_as_bucket_view": True}, "accumulate": 2},
    "tokens that a mask counts": {"settings": SMALL, "tokens": True},
    "tokens, two batches to a step": {"tokens": True, "accumulate": 2},
    "statistics that DDP sends": {"norm": "fixed"},
}


def both(folder: Path, cases: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the two processes found, by rank and case."""
    return run_ranks(Path(memory_ranks.__file__), folder, json.dumps({"cases": cases}))


def flat(weights: list[list[float]]) -> list[float]:
    return [number for numbers in weights for number in numbers]


@pytest.mark.parametrize("how", HOW)
def test_a_process_that_takes_parts_trains_the_same_student(how: str, tmp_path: Path) -> None:
    """Otherwise one GPU that has less memory left ends the run of all, or trains another student."""
    cases = {"whole": {"passes": [{}, {}], **HOW[how]}}
    cases |= {where: {"passes": passes, **HOW[how]} for where, passes in WHERE.items()}
    ranks = both(tmp_path, cases)
    whole = ranks[0]["whole"]
    for name, passes in WHERE.items():
        for rank, found in enumerate(ranks):
            one, moments = found[name], passes[rank]
            assert flat(one["weights"]) == pytest.approx(flat(whole["weights"]), rel=1e-6, abs=1e-6), name
            assert one["loss"] == pytest.approx(found["whole"]["loss"], rel=1e-5), name
            assert one["traffic"] == whole["traffic"], name  # nothing is sent twice, or not at all
            assert len(one["said"]) == len(moments), name
            assert all(f"in process {rank};" in text for text in one["said"]), name
            assert len(one["sent"]) == list(moments.values()).count(BACKWARD), name
            assert one["calls"] > found["whole"]["calls"] or not moments
        assert ranks[0][name]["weights"] == ranks[1][name]["weights"], name


def test_memory_runs_out_while_gradients_are_on_their_way(tmp_path: Path) -> None:
    """Otherwise what the tests of small buckets show holds only for gradients that nobody has got yet."""
    found = both(tmp_path, {"it": {"passes": [{}, {3: BACKWARD}], "settings": SMALL}})[1]["it"]
    assert found["sent"][0] > 0
    assert found["traffic"] > found["sent"][0]


def test_batch_statistics_of_parts_leave_the_processes_alike(tmp_path: Path) -> None:
    """Otherwise a process that takes parts waits for statistics that the others have sent, or keeps its own student."""
    names = [name for name in WHERE if "make up" not in name]  # whose parts of one sample have no statistics
    cases = {name: {"passes": WHERE[name], "norm": "batch"} for name in names}
    one, other = both(tmp_path, cases)
    for name in cases:
        assert one[name]["weights"] == other[name]["weights"]
        assert all(
            text.endswith("only batch normalisation sees fewer samples at a time") for text in other[name]["said"]
        )


def test_what_needs_all_processes_for_each_part_is_refused(tmp_path: Path) -> None:
    """Otherwise the others wait for a process that asks them once more, until a timeout half an hour later."""
    passes = [{2: FORWARD}, {2: FORWARD}]
    gathered = {"kd": {"loss": "kd", "gather": True}}
    cases: dict[str, dict[str, Any]] = {
        "gather=True": {"passes": passes, "objective": gathered},
        "static graph": {"passes": passes, "settings": {"static_graph": True}},
        "hooks on the parameters": {"passes": [{2: BACKWARD}] * 2, "hooked": True},
        "a teacher that is sharded": {"passes": passes, "teacher_sharded": True},
        "ModelParallelStrategy": {"passes": passes, "strategy": "sharded"},
    }
    for found in both(tmp_path, cases):
        for reason, case in found.items():
            assert "cannot be taken in smaller parts" in case["error"], reason
            assert reason in case["error"]
            assert "Use a smaller batch_size" in case["error"]
