"""What every benchmark says about the machine and the libraries it ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "lightning", "torchmetrics", "numpy", "transformers")


def describe() -> dict[str, Any]:
    """The keys `hardware` and `versions`."""
    return {"hardware": hardware(), "versions": versions()}


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, accelerators and torch's threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": processor(),
        "cores": cores,
        "memory_gib": memory_gib(),
        "accelerators": accelerators,
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def versions() -> dict[str, str]:
    """Python and those of the libraries above that are installed."""
    found = {"python": platform.python_version()}
    for package in ("knowledge-distillation-toolkit", *PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def progress(message: str) -> None:
    """One line on stderr, where it does not disturb the result."""
    print(message, file=sys.stderr, flush=True)
