"""A training step with a live teacher: this toolkit beside torchdistill, TextBrewer and the original toolkit.

Every arm trains the same models from the same weights on the same batches in memory, with the same loss, optimiser
and threads, and logs nothing; before anything is timed, the first loss and the first update of every arm are compared
with those of a bare loop. A ratio is a peer's time over ours: above 1 we are faster. Further arms explain it: the bare
loop in eager PyTorch, the same with images laid out in memory as channels_last or through torch.compile, the loop's
step in a minimal Lightning module, and this toolkit with its argument `speed` left at "off": with its own losses, and
with the loop's loss in their place.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks.peers.minimal import MinimalLightning
from benchmarks.peers.original import Original
from benchmarks.peers.pairs import PAIRS, Pair
from benchmarks.peers.plain import PlainLoop
from benchmarks.peers.textbrewer_distiller import Textbrewer
from benchmarks.peers.toolkit import TORCH_LOSS, Toolkit
from benchmarks.peers.torchdistill_box import Torchdistill
from benchmarks.report import progress
from benchmarks.timing.clock import Clock
from benchmarks.timing.rounds import FIGURE, interleaved, ratio, summary
from knowledge_distillation.errors import MissingExtraError

PEERS: Mapping[str, Callable[[Pair], Arm]] = {
    "torchdistill": Torchdistill,
    "textbrewer": Textbrewer,
    "original": Original,
}
CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
SAME_STEP = 1e-2
"""Largest relative difference of the first step: convolutions that add up in another order come to some 4e-4."""
INSTALLED = ("torchdistill", "textbrewer")


class Arm(Protocol):
    """Someone's way to do the same training."""

    def loss(self, batch: Any) -> Tensor:
        """Hinton's loss on one batch, with the weights as they are."""

    def train(self, batches: Any) -> None:
        """One step for each batch."""

    def weights(self) -> Tensor:
        """A copy of the student's weights."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, help="training steps a round; default: 8 and 500, by pair")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: on a busy machine, with one thread")
    parser.add_argument("--speed", default="auto", help="this toolkit's argument of that name")
    parser.add_argument("--compiled", action="store_true", help="a compiled bare loop as well; needs a C++ compiler")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    check_installed(arguments.peers)
    torch.set_num_threads(arguments.threads)
    pairs: dict[str, Any] = {name: compare(PAIRS[name], arguments, name) for name in arguments.pairs}
    return {
        "ratio": min(found["ratio"] for found in pairs.values()),
        "peers": {peer: min(found["peers"][peer] for found in pairs.values()) for peer in arguments.peers},
        "pairs": pairs,
        "speed": arguments.speed,
        "threads": arguments.threads,
        "clock": arguments.clock,
        "rounds": arguments.rounds,
        "figure": FIGURE + "; over both pairs the smallest",
    }


def check_installed(peers: Sequence[str]) -> None:
    missing = [peer for peer in peers if peer in INSTALLED and importlib.util.find_spec(peer) is None]
    if missing:
        raise MissingExtraError(
            f"The comparison needs {' and '.join(missing)}, which are not installed. Run `make bench`, which installs "
            "them, or leave them out with --peers original."
        )


def compare(pair: Pair, arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    ours = Toolkit(pair, arguments.speed)
    progress(f"{name}: speed {ours.chosen}, found in {ours.trial_seconds:.1f} s")
    arms: dict[str, Arm] = {
        "toolkit": ours,
        "toolkit_without_speed": Toolkit(pair, "off"),
        "toolkit_torch_loss": Toolkit(pair, "off", TORCH_LOSS),
        "plain_loop": PlainLoop(pair),
        "minimal_lightning": MinimalLightning(pair),
        **{peer: PEERS[peer](pair) for peer in arguments.peers},
    }
    if len(pair.batch) == 4:
        arms["plain_loop_channels_last"] = PlainLoop(pair, channels_last=True)
    if arguments.compiled:
        arms["plain_loop_compiled"] = PlainLoop(pair, compiled=True)
    check_same(arms, pair)
    batches = pair.batches(arguments.steps or pair.steps)
    for arm in arms.values():
        arm.train(batches[:5])

    def timed(arm: Arm) -> float:
        clock = Clock(batches, now=CLOCKS[arguments.clock])
        arm.train(clock)
        return clock.seconds_a_step

    calls = {known: partial(timed, arm) for known, arm in arms.items()}
    times = interleaved(calls, arguments.rounds, label=f"{name} round")
    if not all(bool(arm.weights().isfinite().all()) for arm in arms.values()):
        raise AssertionError("An arm's weights became infinite or NaN, so that its times mean nothing.")
    ratios = {known: round(ratio(values, times["toolkit"]), 4) for known, values in times.items()}
    peers = {peer: ratios[peer] for peer in arguments.peers}
    return {
        "ratio": min(peers.values()),
        "peers": peers,
        "ratio_of_all_arms": ratios,
        "milliseconds_a_step": {known: summary(values) for known, values in times.items()},
        "speed_chosen": ours.chosen,
        "speed_trial_seconds": round(ours.trial_seconds, 2),
        "steps": len(batches),
    }


def check_same(arms: Mapping[str, Arm], pair: Pair) -> None:
    """Raise unless every arm has the same first loss, and moves the weights alike in its first step."""
    batch = pair.batches(1)[0]
    reference = PlainLoop(pair)
    before, loss = reference.weights(), reference.loss(batch).detach()
    reference.train([batch])
    step = reference.weights() - before
    for name, arm in arms.items():
        if not torch.equal(arm.weights(), before):
            raise AssertionError(f"{name} begins with other weights.")
        torch.testing.assert_close(arm.loss(batch).detach(), loss, rtol=1e-5, atol=1e-5, msg=f"{name}: another loss")
        arm.train([batch])
        apart = float((arm.weights() - before - step).norm() / step.norm())
        if apart > SAME_STEP:
            raise AssertionError(f"{name} takes another first step, {apart:.2g} of its length away.")
        progress(f"{name}: first loss {float(loss):.6f}, first step the same up to {apart:.1e}")
