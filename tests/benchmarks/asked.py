"""A benchmark run with the settings of a command line."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def run(name: str, *options: str) -> dict[str, Any]:
    """What `python -m benchmarks NAME OPTIONS` measures; it must be fit for JSON."""
    benchmark = importlib.import_module(f"benchmarks.{name}")
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    with same_threads():
        found: dict[str, Any] = benchmark.run(parser.parse_args(list(options)))
    return dict(json.loads(json.dumps(found)))


@contextmanager
def same_threads() -> Iterator[None]:
    """Give torch its number of threads back, which a benchmark sets."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
