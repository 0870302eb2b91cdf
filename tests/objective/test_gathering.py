"""What goes wrong for a user when samples of several processes are compared, and each sees its own only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.objective import Objective, Term
from knowledge_distillation.objective.gathering import together
from tests.objective import gather_ranks
from tests.objective.gather_ranks import LOSSES
from tests.ranks import run_ranks


@pytest.fixture(scope="module", params=[2, 3], ids=["2 processes", "3 processes"])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process found."""
    folder = tmp_path_factory.mktemp("gather")
    return run_ranks(Path(gather_ranks.__file__), folder, count=request.param)


@pytest.mark.slow
@pytest.mark.parametrize("masked", ["", " masked"])
@pytest.mark.parametrize("name", LOSSES)
def test_gathered_losses_are_those_of_one_process_with_the_whole_batch(
    name: str, masked: str, processes: list[dict[str, Any]]
) -> None:
    """Otherwise relations within half a batch are learnt, or the gradient is off by the number of processes."""
    for found in processes:
        errors = found[name + masked]
        assert len(errors) > 1
        assert max(errors.values()) < 1e-9, errors


def test_batches_that_cannot_be_put_together_are_refused_in_every_process(processes: list[dict[str, Any]]) -> None:
    """Otherwise one process raises and the others wait for it for ever."""
    for found in processes:
        assert "by process they have (2, 3), (2, 4)" in found["lengths differ"]
        assert "a tensor of shape ()" in found["no samples"]


def test_half_precision_indices_and_masks_are_gathered_too(processes: list[dict[str, Any]]) -> None:
    """Otherwise a mask, or a run in bfloat16, ends in an error of the backend."""
    for found in processes:
        assert found["types"] == dict.fromkeys(found["types"], True)
        assert len(found["types"]) == 4


def test_one_process_is_left_alone() -> None:
    """Otherwise the same recipe needs a group of processes on a laptop."""
    signals = (torch.zeros(2, 3), None)
    assert together(signals) is signals


def test_gather_is_named_in_a_recipe() -> None:
    """Otherwise it is taken for a setting of the loss and refused."""
    assert Objective({"rkd": {"loss": "rkd", "gather": True}}).terms["rkd"].gather


def test_what_cannot_be_gathered_is_refused() -> None:
    """Otherwise a wish is silently not granted."""
    with pytest.raises(ConfigError, match="own loss itself"):
        Term("own", student="loss", gather=True)
    with pytest.raises(ConfigError, match="must be true or false"):
        Term("rkd", gather="yes")  # type: ignore[arg-type]
