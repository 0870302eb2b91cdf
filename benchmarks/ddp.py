"""A step of our training on two processes against a hand-written DistributedDataParallel loop.

ResNet-56 teaches ResNet-20 on random images, 32 x 32 x 3, 64 in each process. Two gloo processes of one thread each
train both arms in turn: `distill` as a user calls it, with its logs and checkpoints, and the least code that does the
same with DDP. Both have the same batches, loss and optimiser. Rounds are interleaved.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import get_context
from torch.nn.parallel import DistributedDataParallel

from benchmarks.peers.pairs import LEARNING_RATE, PAIRS
from benchmarks.peers.plain import hinton
from benchmarks.timing.clock import Clock
from benchmarks.timing.rounds import FIGURE, interleaved, ratio, summary
from knowledge_distillation import distill

PROCESSES = 2
PAIR = PAIRS["resnet56_to_resnet20"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=12, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=11)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    context = get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    answers = context.SimpleQueue()
    processes = [context.Process(target=work, args=(rank, port, arguments, answers)) for rank in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a process failed; its error stands above")
    times = answers.get()
    return {
        "efficiency": round(ratio(times["by_hand"], times["ours"]), 4),
        "efficiency_of_minima": round(min(times["by_hand"]) / min(times["ours"]), 4),
        "milliseconds_a_step": {name: summary(values) for name, values in times.items()},
        "processes": PROCESSES,
        "threads": 1,
        "steps": arguments.steps,
        "rounds": arguments.rounds,
        "figure": f"by hand / ours; {FIGURE}",
    }


def work(rank: int, port: str, arguments: argparse.Namespace, answers: Any) -> None:
    """Both arms, in one of the processes."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(PROCESSES)}
    os.environ.update({**shared, "TORCHELASTIC_RUN_ID": "ddp", "RANK": str(rank), "LOCAL_RANK": str(rank)})
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    with tempfile.TemporaryDirectory() as folder:
        arms = {"by_hand": partial(seconds, by_hand), "ours": partial(seconds, partial(ours, Path(folder)))}
        turns = {name: partial(arm, arguments.steps) for name, arm in arms.items()}
        interleaved(turns, 1, label=f"process {rank}, warm-up")
        times = interleaved(turns, arguments.rounds, label=f"process {rank}, round")
    if rank == 0:
        answers.put(times)
    distributed.destroy_process_group()


def seconds(arm: Callable[[Clock], None], steps: int) -> float:
    """Of a step, in the slower process."""
    batches = Clock(PAIR.batches(steps), skip=2)
    distributed.barrier()
    arm(batches)
    slowest = torch.tensor(batches.seconds_a_step)
    distributed.all_reduce(slowest, distributed.ReduceOp.MAX)
    return float(slowest)


def by_hand(batches: Clock) -> None:
    """What a user would write."""
    teacher, student = PAIR.build()
    wrapped = DistributedDataParallel(student)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=LEARNING_RATE)
    for images, labels in batches:
        optimizer.zero_grad()
        with torch.no_grad():
            taught = teacher(images)
        hinton(wrapped(images), taught, labels).backward()
        optimizer.step()


def ours(folder: Path, batches: Clock) -> None:
    """The whole of `distill` but for the examination before it."""
    teacher, student = PAIR.build()
    directory = folder / f"run-{len(list(folder.iterdir()))}"
    distributed.barrier()  # both have counted before one of them makes the directory
    distill(
        teacher,
        student,
        batches,
        objective="kd",
        max_epochs=1,
        optimizer="sgd",
        learning_rate=LEARNING_RATE,
        directory=directory,
        doctor=False,
        trainer={"accelerator": "cpu", "devices": PROCESSES, "strategy": "ddp", "enable_progress_bar": False},
    )
