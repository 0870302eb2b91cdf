"""What a teacher costs when a term wants one of its inner layers: its forward ends after that layer.

Two teachers: a stack of equal transformer layers, whose layer l of L ought to cost l/L of the forward, and ResNet-56,
whose blocks ought to cost the share that they take in its own forward. Each tapped call is paired with a whole forward
of an untapped copy right before it, and both follow another whole forward, so that they meet the same machine; the
figure of a layer is the median over all pairs, and `ratio` that of the worst layer. One thread works, and its processor
time is counted: what else the machine does in between is not, nor is the handing out of memory.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import progress
from benchmarks.timing.allocator import keep_freed_memory
from benchmarks.timing.rounds import summary
from knowledge_distillation.domains.vision.models import CifarResNet
from knowledge_distillation.teachers import LiveTeacher


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=3, help="tapped and whole forwards of each layer in a round")
    parser.add_argument("--layers", type=int, default=12, help="of the stack")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--depth", type=int, default=56, help="of the CIFAR ResNet, 6n + 2")
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--images", type=int, default=64)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    kept = keep_freed_memory()
    # A layer with a hook on it leaves torch's fused path for transformers, the untapped ones would keep it.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        teachers = {
            "transformer": measure(*transformer(arguments), equal=True, arguments=arguments, label="transformer"),
            "cifar_resnet": measure(*resnet(arguments), equal=False, arguments=arguments, label="resnet"),
        }
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return {
        "ratio": max(found["ratio"] for found in teachers.values()),
        "teachers": teachers,
        "threads": torch.get_num_threads(),
        "freed_memory_kept": kept,
        "pairs_a_layer": arguments.rounds * arguments.pairs,
        "figure": "processor time; median of the ratios within pairs of adjacent forwards; the worst layer",
    }


def transformer(arguments: argparse.Namespace) -> tuple[nn.Module, Tensor, list[str]]:
    """A stack of equal layers, and nothing before or behind it."""
    torch.manual_seed(0)
    width = arguments.width
    layers = [nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True) for _ in range(arguments.layers)]
    tokens = torch.randn(arguments.sequences, arguments.length, width)
    return nn.Sequential(*layers).eval(), tokens, [str(number) for number in range(arguments.layers)]


def resnet(arguments: argparse.Namespace) -> tuple[nn.Module, Tensor, list[str]]:
    """A ResNet for 32 x 32 images and the paths of its blocks."""
    torch.manual_seed(0)
    model = CifarResNet(arguments.depth)
    stages = ((name, getattr(model, name)) for name in ("layer1", "layer2", "layer3"))
    blocks = [f"{name}.{number}" for name, stage in stages for number in range(len(stage))]
    return model.eval(), torch.randn(arguments.images, 3, 32, 32), blocks


class Whole:
    """The untapped forward, and how long it takes to the end of each layer."""

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        self.model = copy.deepcopy(model)
        self.moments: list[float] = []
        for path in paths:
            self.model.get_submodule(path).register_forward_hook(self._look)

    def _look(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self.moments.append(time.thread_time())

    def seconds(self, inputs: Tensor) -> tuple[float, list[float]]:
        """Of the whole forward, and from its beginning to the end of each layer."""
        self.moments.clear()
        began = time.thread_time()
        with torch.no_grad():
            self.model(inputs)
        return time.thread_time() - began, [moment - began for moment in self.moments]


def tapped_seconds(teacher: LiveTeacher, inputs: Tensor, path: str) -> float:
    began = time.thread_time()
    teacher.signals(inputs, (path,))
    return time.thread_time() - began


def measure(
    model: nn.Module, inputs: Tensor, paths: Sequence[str], *, equal: bool, arguments: argparse.Namespace, label: str
) -> dict[str, Any]:
    """Time every layer's tap beside whole forwards.

    Args:
        model: the teacher, in eval mode.
        inputs: one batch.
        paths: its layers, first to last.
        equal: whether layer l of L ought to cost l/L; otherwise the share that was measured in the forward beside it.
        arguments: of the command line.
        label: for the lines of progress.
    """
    whole = Whole(model, paths)
    whole.seconds(inputs)
    forwards: list[float] = []
    taps: list[list[float]] = [[] for _ in paths]
    ratios: list[list[float]] = [[] for _ in paths]
    ends: list[list[float]] = [[] for _ in paths]
    for number in range(arguments.rounds):
        for place, path in enumerate(paths):
            teacher = LiveTeacher(model)
            teacher.prepare(torch.device("cpu"))
            tapped_seconds(teacher, inputs, path)  # the first call puts the hook on
            for _ in range(arguments.pairs):
                whole.seconds(inputs)  # so that both timed calls find memory as a whole forward leaves it
                forward, moments = whole.seconds(inputs)
                tapped = tapped_seconds(teacher, inputs, path)
                owed = forward * (place + 1) / len(paths) if equal else moments[place]
                forwards.append(forward)
                taps[place].append(1e3 * tapped)
                ends[place].append(owed / forward)
                ratios[place].append(tapped / owed)
            teacher.release()
        worst = max(statistics.median(values) for values in ratios)
        progress(
            f"{label} round {number + 1}/{arguments.rounds}: forward {1e3 * forwards[-1]:.1f} ms, worst {worst:.3f}"
        )
    found = {path: round(statistics.median(values), 4) for path, values in zip(paths, ratios, strict=True)}
    return {
        "ratio": max(found.values()),
        "worst_layer": max(found, key=lambda path: found[path]),
        "forward_milliseconds": summary([1e3 * seconds for seconds in forwards]),
        "ratio_by_layer": found,
        "share_by_layer": {path: round(statistics.median(v), 4) for path, v in zip(paths, ends, strict=True)},
        "tapped_milliseconds": {path: round(min(values), 3) for path, values in zip(paths, taps, strict=True)},
    }
