"""Are faults survived? Kills, full disks, flipped bits, hostile files, NaN, two runs in one folder; all of each kind.

The kinds are those of tests/faults, of which the tests inject a sample. A fault counts as survived where all that its
row promises held afterwards.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import progress
from tests.faults.kind import Kind, kinds_of_faults
from tests.processes import CONTEXT

LISTED = 5
"""Faults of each kind that are shown, if they were not survived."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", action="append", choices=kinds_of_faults(), help="only this one; may be repeated")
    parser.add_argument("--parallel", type=int, default=2, help="faults at a time")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    kinds = kinds_of_faults()
    chosen = {name: kinds[name] for name in arguments.kind or kinds}
    with ProcessPoolExecutor(arguments.parallel, mp_context=CONTEXT) as pool:
        rows = {name: counted(pool, name, kind) for name, kind in chosen.items()}
    return {
        **{number: sum(row[number] for row in rows.values()) for number in ("injected", "survived")},
        "seconds": round(sum(row["seconds"] for row in rows.values())),
        "rows": rows,
        "figure": "counts; survived: all that the row promises held afterwards",
    }


def counted(pool: ProcessPoolExecutor, name: str, kind: Kind) -> dict[str, Any]:
    """Inject all faults of one kind."""
    started = time.monotonic()
    said = list(pool.map(complaint, itertools.repeat(name), range(kind.all)))
    lost = [{"number": number, "said": complaint} for number, complaint in enumerate(said) if complaint]
    row = {"injected": kind.all, "survived": kind.all - len(lost), "seconds": round(time.monotonic() - started)}
    progress(f"{kind.title}: {row} {lost[:1] or ''}")
    return {"title": kind.title, "survives": kind.survives, **row, "lost": lost[:LISTED]}


def complaint(name: str, number: int) -> str:
    """What went wrong with one fault; "" where it was survived."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            kinds_of_faults()[name].inject(number, Path(folder))
        except Exception:  # whatever it is, the fault was not survived
            return traceback.format_exc()[-3000:]
    return ""
