"""How many bytes one step needs beyond its inputs. As a program: of one arm on a processor, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.language.arms import ON_PROCESSOR, Inputs, Shape, make_inputs, step


def peak_on_processor(arm: str, shape: Shape) -> int | None:
    """Resident memory at its peak, the gradients included; None where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, "-m", "benchmarks.language.peak", arm, json.dumps(asdict(shape))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def peak_on_gpu(loss: Callable[[Inputs], Tensor], inputs: Inputs) -> int:
    """Of the allocator."""
    for leaf in inputs.leaves:
        leaf.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(loss, inputs)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def resident(name: str) -> int:
    """VmRSS, or VmHWM for its peak, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}.")


def main() -> None:
    loss, shape = ON_PROCESSOR[sys.argv[1]], Shape(**json.loads(sys.argv[2]))
    inputs = make_inputs(shape)
    if "compile" in sys.argv[1]:  # what the compiler needs is not what the step needs
        step(loss, inputs)
        step(loss, inputs)
        for leaf in inputs.leaves:
            leaf.grad = None
    else:  # libraries are loaded by the first step
        step(loss, make_inputs(Shape(items=2, classes=shape.classes, **widths(shape))))
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    step(loss, inputs)
    print(resident("VmHWM") - before)


def widths(shape: Shape) -> dict[str, int | None]:
    return {"student_width": shape.student_width, "teacher_width": shape.teacher_width}


if __name__ == "__main__":
    main()
