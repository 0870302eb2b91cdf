"""What goes wrong for a reader of the results when arms do not train the same, or a peer is missing in silence."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from benchmarks import online_peers
from benchmarks.peers.original import Original
from benchmarks.peers.pairs import PAIRS
from benchmarks.peers.plain import PlainLoop
from benchmarks.peers.toolkit import Toolkit
from knowledge_distillation.errors import MissingExtraError
from tests.benchmarks.asked import run

TINY = ("--pairs", "tiny_mlp", "--rounds", "2", "--steps", "5", "--threads", "1")


def test_it_gives_its_keys_without_any_peer_installed() -> None:
    """Otherwise whoever reads the figures by key finds none."""
    found = run("online_peers", *TINY, "--peers", "original")
    assert found["ratio"] == found["peers"]["original"] == found["pairs"]["tiny_mlp"]["ratio"] > 0
    assert found["pairs"]["tiny_mlp"]["ratio_of_all_arms"]["toolkit"] == 1


@pytest.mark.skipif(
    any(importlib.util.find_spec(peer) is None for peer in online_peers.INSTALLED),
    reason="torchdistill and TextBrewer are not installed; `make bench` does",
)
@pytest.mark.filterwarnings("ignore")  # peers have theirs
def test_it_runs_the_installed_peers() -> None:
    """Otherwise a comparison with others compares with nobody."""
    assert set(run("online_peers", *TINY)["peers"]) == {"torchdistill", "textbrewer", "original"}


def test_a_missing_peer_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the figures are those of fewer peers than the reader believes."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"torchdistill and textbrewer.*make bench"):
        run("online_peers", *TINY)


def test_an_arm_with_another_loss_is_refused() -> None:
    """Otherwise the fastest arm is the one that does least."""

    class Half(PlainLoop):
        def loss(self, batch: Any) -> torch.Tensor:
            return super().loss(batch) / 2

    pair = PAIRS["tiny_mlp"]
    with pytest.raises(AssertionError, match="half: another loss"):
        online_peers.check_same({"half": Half(pair)}, pair)


def test_an_arm_that_does_not_train_is_refused() -> None:
    """Otherwise an arm that only looks at the batches wins."""

    class Idle(PlainLoop):
        def train(self, batches: Any) -> None:
            list(batches)

    pair = PAIRS["tiny_mlp"]
    with pytest.raises(AssertionError, match="idle takes another first step"):
        online_peers.check_same({"idle": Idle(pair)}, pair)


def test_the_same_training_is_accepted_from_every_arm_of_this_tree() -> None:
    """Otherwise the check that guards the comparison refuses honest arms."""
    pair = PAIRS["tiny_mlp"]
    online_peers.check_same({"toolkit": Toolkit(pair, "off"), "original": Original(pair)}, pair)
