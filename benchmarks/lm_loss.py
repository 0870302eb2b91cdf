"""The loss of a language model, forward and backward: ours beside eager PyTorch, torch.compile, and what peers do.

On a processor, float32: from given logits; and from hidden states through both heads. `time_ratio_to_eager` and
`memory_ratio_to_eager` are those of given logits, the rows have them all. TRL's loss is its formula written anew, at
beta = 0. On a GPU, bfloat16: three shapes of real models, Liger's three losses where it is installed, and the floor of
each shape: its products at the rate of a product that is measured in the same run. Memory is the peak beyond the
inputs, gradients included; on a processor of a process of its own for each figure. `left_out` says which arms could not
run, and why.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.language.arms import Inputs, Shape, arms_on, left_out, make_inputs, ours, step
from benchmarks.language.peak import peak_on_gpu, peak_on_processor
from benchmarks.report import progress
from benchmarks.timing.rounds import FIGURE, interleaved, ratio, summary

GPU_SHAPES = (
    Shape(items=8192, classes=128_256, student_width=2048, teacher_width=4096),
    Shape(items=8192, classes=32_000, student_width=2048, teacher_width=4096),
    Shape(items=4096, classes=151_936, student_width=1024, teacher_width=2560),
)

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--items", type=int, default=2048, help="on a processor")
    parser.add_argument("--classes", type=int, default=32_000, help="on a processor")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves them as they are")
    parser.add_argument(
        "--clock", choices=tuple(CLOCKS), default="wall", help="processor: where others are at work too"
    )
    parser.add_argument("--linear-rounds", type=int, default=3, help="through the heads, on a processor")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    clock = CLOCKS[arguments.clock]
    shapes = dict.fromkeys(GPU_SHAPES, arguments.rounds)
    if arguments.device == "cpu":
        given = Shape(items=arguments.items, classes=arguments.classes)
        linear = Shape(items=arguments.items, classes=arguments.classes, student_width=512, teacher_width=1024)
        shapes = {given: arguments.rounds, linear: arguments.linear_rounds}
    rows = [row for shape, rounds in shapes.items() for row in measured(shape, arguments.device, rounds, clock)]
    first = next(row for row in rows if row["variant"] == "ours")
    return {
        "time_ratio_to_eager": first["time_ratio_to_eager"],
        "memory_ratio_to_eager": first["memory_ratio_to_eager"],
        "rows": rows,
        "left_out": left_out(arguments.device),
        "gradient_error": gradient_error(arguments.device),
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "clock": arguments.clock,
        "figure": FIGURE,
    }


def measured(shape: Shape, device: str, rounds: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """One row for each variant."""
    arms, inputs = arms_on(device), make_inputs(shape, device, torch.float32 if device == "cpu" else torch.bfloat16)
    calls = {name: partial(seconds, arm, inputs, clock) for name, arm in arms.items()}
    interleaved(calls, 1, label=f"{shape.name} warm-up")
    times = interleaved(calls, rounds, label=shape.name)
    peaks = {
        name: peak_on_processor(name, shape) if device == "cpu" else peak_on_gpu(arm, inputs)
        for name, arm in arms.items()
    }
    floor = None if device == "cpu" else floor_milliseconds(shape)
    rows = []
    for name in arms:
        peak, whole = peaks[name], peaks["eager"]
        row = {
            "variant": name,
            "shape": shape.name,
            "milliseconds": summary(times[name]),
            "megabytes": None if peak is None else round(peak / 1e6),
            "time_ratio_to_eager": round(ratio(times[name], times["eager"]), 4),
            "memory_ratio_to_eager": round(peak / whole, 4) if peak is not None and whole else None,
        }
        if floor is not None:
            row["floor_milliseconds"] = round(floor, 3)
        rows.append(row)
        progress(str(row))
    return rows


def seconds(arm: Callable[[Inputs], Tensor], inputs: Inputs, clock: Callable[[], float]) -> float:
    if inputs.student.is_cuda:
        torch.cuda.synchronize()
    started = clock()
    step(arm, inputs)
    if inputs.student.is_cuda:
        torch.cuda.synchronize()
    return clock() - started


def floor_milliseconds(shape: Shape) -> float:
    """2 * N * V * (3 * Hs + Ht) operations at the rate of a large bfloat16 product, the best of ten."""
    first, second = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def product() -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        first @ second
        torch.cuda.synchronize()
        return time.perf_counter() - started

    fastest = min(product() for _ in range(10))
    if shape.student_width is None or shape.teacher_width is None:
        raise ValueError("Logits that are given have no products.")
    operations = 2 * shape.items * shape.classes * (3 * shape.student_width + shape.teacher_width)
    return 1e3 * fastest * operations / (2 * 8192**3)


def gradient_error(device: str) -> dict[str, float]:
    """Of the head's gradient against float64, |difference| / |gradient|: ours, and of logits rounded to bfloat16.

    128 items, 8192 classes, 1024 wide; the teacher is the student with a little noise, all in bfloat16's values.
    """
    exact = close_models(device)
    expected = gradient(exact, lambda inputs: kl(*inputs.logits()))
    inputs = as_type(exact, torch.float32)
    with torch.autocast(device, torch.bfloat16):
        found = {
            "ours": gradient(inputs, ours),
            "rounded_logits": gradient(inputs, lambda inputs: kl(*(logits.float() for logits in inputs.logits()))),
        }
    errors = {name: float((value - expected).norm() / expected.norm()) for name, value in found.items()}
    progress(f"gradient error: {errors}")
    return {name: float(f"{error:.3g}") for name, error in errors.items()}


def close_models(device: str) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    states, weight = torch.randn(128, 1024, generator=generator), torch.randn(8192, 1024, generator=generator) / 16
    near = states + 0.02 * torch.randn(128, 1024, generator=generator)
    rounded = [tensor.to(device).bfloat16() for tensor in (states, near, weight, weight)]
    student, teacher, student_weight, teacher_weight = rounded
    plain = Inputs(
        student=student, teacher=teacher, student_weight=student_weight.requires_grad_(), teacher_weight=teacher_weight
    )
    return as_type(plain, torch.float64)


def as_type(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    def cast(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.detach().to(dtype).requires_grad_(tensor.requires_grad)

    return Inputs(**{name: cast(tensor) for name, tensor in vars(inputs).items()})


def kl(student: Tensor, teacher: Tensor) -> Tensor:
    return F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="sum", log_target=True) / len(student)


def gradient(inputs: Inputs, loss: Callable[[Inputs], Tensor]) -> Tensor:
    """Of the student's head."""
    assert inputs.student_weight is not None
    (found,) = torch.autograd.grad(loss(inputs), [inputs.student_weight])
    return found.double()
