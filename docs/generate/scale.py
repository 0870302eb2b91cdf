"""The page on scale: what was measured on two processes, and what follows by arithmetic for many GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from docs.generate.markdown import table
from docs.generate.measured import machine, result

GPUS = (8, 64, 256, 1024)
LINK = 50e9
"""Bytes a second between nodes for each GPU: a link of 400 Gbit/s."""
SINGLE, HALF = 4, 2
"""Bytes of a number in float32 and bfloat16."""


@dataclass(frozen=True, slots=True)
class Job:
    """A teacher and a student as they are trained on one GPU.

    Attributes:
        name: what they are.
        teacher, student: parameters.
        items: tokens or images a GPU takes in a second.
        unit: what an item is.
        width: of the vectors that a relation compares.
        batch: samples a GPU.
    """

    name: str
    teacher: float
    student: float
    items: float
    unit: str
    width: int
    batch: int


JOBS = (
    Job("7 B to 0.5 B language model", 7e9, 0.5e9, 40e3, "tokens", 1024, 16),
    Job("ResNet-50 to ResNet-18", 25.6e6, 11.7e6, 2.5e3, "images", 512, 128),
)


def all_reduced(student: float, processes: int) -> float:
    """Bytes that each process sends in a ring all-reduce of float32 gradients."""
    return 2 * (processes - 1) / processes * student * SINGLE


def fully_sharded(student: float, processes: int) -> float:
    """Bytes that each process sends under FSDP in float32: weights gathered twice, gradients scattered once."""
    return (processes - 1) / processes * student * 3 * SINGLE


def gathered(teacher: float, processes: int) -> float:
    """Bytes that each process receives to run a teacher in bfloat16 that is sharded over all."""
    return (processes - 1) / processes * teacher * HALF


def related(job: Job, processes: int) -> float:
    """Bytes that each process receives where a relation compares the samples of all: both sides, float32."""
    return 2 * (processes - 1) * job.batch * job.width * SINGLE


def bytes_moved() -> str:
    """What a step moves, by job and number of GPUs."""
    head = (
        "GPUs", "DDP", "at 50 GB/s", "FSDP", "at 50 GB/s", "teacher, replicated", "teacher, sharded",
        "relation with `gather`",
    )  # fmt: skip
    parts = []
    for job in JOBS:
        rows = [
            (
                f"{count:,}",
                size(all_reduced(job.student, count)),
                time(all_reduced(job.student, count)),
                size(fully_sharded(job.student, count)),
                time(fully_sharded(job.student, count)),
                "0",
                size(gathered(job.teacher, count)),
                size(related(job, count)),
            )
            for count in GPUS
        ]
        parts.append(f"*{job.name}, computed:*\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def teacher_memory() -> str:
    """Where a teacher lies, and what that takes on each GPU."""
    head = ("teacher", "replicated", *(f"sharded over {count:,}" for count in GPUS), "cached")
    rows = [
        (job.name, size(job.teacher * HALF), *(size(job.teacher * HALF / count) for count in GPUS), "0") for job in JOBS
    ]
    return f"*Bytes on each GPU, bfloat16, computed:*\n\n{table(head, rows)}"


def cache_bandwidth() -> str:
    """What all GPUs together read from a cache in a second."""
    found = result("cache_io")
    job = JOBS[0]
    encodings = {
        "`compact_top_k`, k 50": "compact_top_k 50",
        "`sampled`, 12 draws": "sampled 12",
        "`bfloat16`": "bfloat16",
    }
    rows = [
        (
            label,
            f"{found['bytes_per_token'][name]:,.0f}",
            *(f"{size(found['bytes_per_token'][name] * job.items * count)}/s" for count in GPUS),
        )
        for label, name in encodings.items()
    ]
    head = ("encoding", "bytes a token (measured)", *(f"{count:,} GPUs" for count in GPUS))
    return (
        f"*At {job.items:,.0f} {job.unit} a second and GPU, {found['classes']:,} classes, computed; one process read "
        f"{found['tokens_per_second']:,.0f} tokens a second from the disk, measured:*\n\n{table(head, rows)}"
    )


def two_processes() -> str:
    """What `python -m benchmarks ddp` measured."""
    found = result("ddp")
    if "skipped" in found:
        return f"*No figures here: {found['skipped']}.*"
    times = found["milliseconds_a_step"]
    rows = [
        (label, f"{times[name]['median']:.0f}", f"{times[name]['min']:.0f}")
        for name, label in (("by_hand", "a hand-written DDP loop"), ("ours", "`kd.distill`"))
    ]
    return (
        f"The loop's time over ours: **{found['efficiency']:.3f}**. {machine(found)}\n\n"
        f"{table(('training', 'ms a step, median', 'minimum'), rows)}"
    )


def size(count: float) -> str:
    """Bytes as a reader takes them in."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"


def time(count: float) -> str:
    """How long a link takes for so many bytes."""
    return f"{1e3 * count / LINK:.3g} ms"


TABLES: Mapping[str, Callable[[], str]] = {
    "scale-bytes": bytes_moved,
    "scale-teacher": teacher_memory,
    "scale-cache": cache_bandwidth,
    "scale-measured": two_processes,
}
