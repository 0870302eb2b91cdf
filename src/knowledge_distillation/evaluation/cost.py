"""What a model costs: size, operations, memory, seconds and energy to answer."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import auto, split_batch
from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.evaluation.energy import measure_energy
from knowledge_distillation.evaluation.flops import count_flops
from knowledge_distillation.evaluation.latency import LONGEST_SECONDS, call_times, cpu_threads, latency_of
from knowledge_distillation.evaluation.memory import peak_bytes
from knowledge_distillation.evaluation.sizes import memory_bytes, parameter_count, path_bytes, safetensors_bytes
from knowledge_distillation.evaluation.subjects import Subject
from knowledge_distillation.teachers.cache import TaughtBatch
from knowledge_distillation.training.pipelines import to_device

__all__ = ["Cost", "cost_of", "cpu_threads", "measure_cost", "resized"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Attributes:
    parameters: number of parameter values.
    bytes: parameters and buffers as they are stored.
    latency_ms: median milliseconds for one example batch.
    latency_p95_ms: 95th percentile of the same rounds.
    """

    parameters: int
    bytes: int
    latency_ms: float
    latency_p95_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def measure_cost(
    model: nn.Module, example: Sequence[Any], *, rounds: int = 50, warm_up: int = 10, threads: int | None = None
) -> Cost:
    """Count parameters and bytes, and time `model(*example)` in eval mode without gradient.

    Args:
        model: measured on the device where it is.
        example: positional inputs on that device.
        rounds: timed calls.
        warm_up: calls before, not timed.
        threads: CPU threads while timing; None leaves the setting.
    """
    device = next((entry.device for entry in example if isinstance(entry, Tensor)), torch.device("cpu"))
    with undisturbed(model):
        timings = call_times(lambda: model(*example), rounds=rounds, warm_up=warm_up, threads=threads, device=device)
    return Cost(
        parameters=parameter_count(model),
        bytes=memory_bytes(model),
        latency_ms=statistics.median(timings),
        latency_p95_ms=latency_of(timings, 1).p95_ms,
    )


def cost_of(
    subject: Subject,
    batch: Any,
    *,
    batch_sizes: Sequence[int],
    rounds: int,
    warm_up: int,
    threads: int | None,
    file: str | Path | None,
    energy: bool,
    notes: list[str],
) -> dict[str, Any]:
    """Every figure of one model, and how each was measured.

    Args:
        subject: the model, at rest.
        batch: an example, of which batches of the asked sizes are made.
        batch_sizes: samples a call, for the latency.
        rounds: timed calls for each size.
        warm_up: calls before, not timed.
        threads: CPU threads while timing; None leaves the setting.
        file: what is shipped of it; None reckons its safetensors file.
        energy: estimate it, with the extra `energy`.
        notes: gets a sentence for every figure that could not be measured.

    Returns:
        {"parameters", "bytes", "file_bytes", "flops", "peak_memory_bytes", "latency", "threads", "energy", "how"}; what
        could not be measured is None.
    """
    module = subject.module
    how: dict[str, str] = {}
    found: dict[str, Any] = dict.fromkeys(("parameters", "bytes", "file_bytes", "flops", "peak_memory_bytes", "energy"))
    found |= {"latency": {}, "threads": threads or torch.get_num_threads(), "how": how}
    if file is not None:
        found["file_bytes"] = path_bytes(file)
        how["file_bytes"] = f"bytes on disk of {Path(file).name}"
    if module is None:
        notes.append(f"{subject.name}: no cost, since it is a {type(subject.source).__name__} and no module.")
        return found
    if subject.is_sealed:
        notes.append(
            f"{subject.name}: no parameters, operations or memory, since it holds no weights that could be seen."
        )
    else:
        _sizes(subject, module, found, how, notes)
    one = _call(subject, resized(batch, 1))
    if not subject.is_sealed:
        _once(subject, one, found, how, notes)
    for size in batch_sizes:
        call = _call(subject, resized(batch, size))
        timing = partial(call_times, call, rounds=rounds, warm_up=warm_up, threads=threads, device=subject.device)
        timings = _tried(partial(timing, longest=LONGEST_SECONDS), f"{subject.name}: no latency at batch {size}", notes)
        if timings is not None:
            found["latency"][str(size)] = latency_of(timings, size).as_dict()
    how["latency"] = (
        f"nearest-rank percentiles of at most {rounds} calls after at most {warm_up} not timed, for about "
        f"{LONGEST_SECONDS:.0f} s a size or one call, {found['threads']} CPU thread(s) of torch, on "
        f"{subject.device.type}, inputs in place; batches are made of the loader's first; items a second from the "
        "median"
    )
    if energy:
        with cpu_threads(threads) if threads else nullcontext():
            found["energy"] = _tried(lambda: measure_energy(one, 1), f"{subject.name}: no energy", notes)
        if found["energy"] is not None:
            how["energy"] = found["energy"].pop("how")
    return found


def resized(batch: Any, size: int) -> Any:
    """A batch of so many samples, cut from a batch or repeating its samples.

    Args:
        batch: every tensor or list in it with one entry a sample is resized; anything else stays.
        size: >= 1.
    """
    content = batch.content if isinstance(batch, TaughtBatch) else batch
    positional, named, labels = split_batch(content)
    entries = [entry for entry in [*positional, *named.values(), labels] if isinstance(entry, Tensor) and entry.dim()]
    given = len(entries[0]) if entries else 0

    def change(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == given:
            return leaf[torch.arange(size, device=leaf.device) % given]
        if isinstance(leaf, (list, tuple)) and len(leaf) == given:
            return type(leaf)(leaf[place % given] for place in range(size))
        return leaf

    return map_leaves(content, change)


def _call(subject: Subject, batch: Any) -> Callable[[], Any]:
    """One call of the model on a batch; without the adapter's share of the time where the adapter is the usual one."""
    module, content = subject.module, to_device(batch, subject.device)
    if module is None:
        raise AssertionError("only modules are called here")
    if subject.adapter is auto:
        positional, named, _ = split_batch(content, module)
        return lambda: module(*positional, **named)
    return lambda: subject.adapter(module, content, 1.0)


def _sizes(subject: Subject, module: nn.Module, found: dict[str, Any], how: dict[str, str], notes: list[str]) -> None:
    found["parameters"], found["bytes"] = parameter_count(module), memory_bytes(module)
    how["parameters"] = "values of all parameters, shared ones once"
    how["bytes"] = "parameters and buffers as they are stored in memory, each tensor once"
    if found["file_bytes"] is None:
        found["file_bytes"] = safetensors_bytes(module)
        how["file_bytes"] = "reckoned size of the model's safetensors file"
        if found["file_bytes"] is None:
            notes.append(
                f"{subject.name}: no file size, since its state is more than plain tensors; pass files={{...}}."
            )


def _once(
    subject: Subject, call: Callable[[], Any], found: dict[str, Any], how: dict[str, str], notes: list[str]
) -> None:
    flops = _tried(lambda: count_flops(call), f"{subject.name}: no operations counted", notes)
    if flops == 0:
        notes.append(f"{subject.name}: torch's counter saw no matrix product, convolution or attention, so no FLOPs.")
    found["flops"] = flops or None
    how["flops"] = (
        "torch.utils.flop_counter for one sample; 2 for each multiplication with its addition in matrix products, "
        "convolutions and attention; fused layers taken apart"
    )
    peak = _tried(lambda: peak_bytes(call, subject.device), f"{subject.name}: no peak memory", notes)
    if peak is not None:
        found["peak_memory_bytes"] = peak + found["bytes"]
    seen = "torch.cuda.max_memory_allocated" if subject.device.type == "cuda" else "storages that operators return"
    how["peak_memory_bytes"] = f"weights, and the most that one call for one sample holds beside them, by {seen}"


def _tried(measure: Callable[[], Any], what: str, notes: list[str]) -> Any:
    """The figure, or None and a note: a model that refuses a batch size must not cost the other figures."""
    try:
        return measure()
    except ImportError:
        raise
    except Exception as error:  # a runtime's own errors are of any kind
        notes.append(f"{what}: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
        return None
