"""Processes that train together on the CPU, each started as torchrun would start it."""

from __future__ import annotations

import json
import runpy
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.processes import SECONDS, Child

PROGRAM = "import sys; from tests.ranks import begin; begin(*sys.argv[1:])"


class Ranks:
    """Running processes of one training.

    Args:
        program: path of a script, or "kd".
        arguments: of the program.
        count: how many processes.
        directory: where they run.
    """

    def __init__(
        self, program: str | Path, *arguments: str | Path, count: int = 2, directory: Path | None = None
    ) -> None:
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
        shared |= {"LOCAL_WORLD_SIZE": str(count), "TORCHELASTIC_RUN_ID": "test"}
        self.children = [
            Child(
                PROGRAM,
                str(program),
                *arguments,
                directory=directory,
                environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(count)
        ]

    def wait(self, timeout: float = SECONDS) -> list[subprocess.CompletedProcess[str]]:
        """Until all have ended."""
        return [child.wait(timeout) for child in self.children]

    def succeed(self) -> None:
        """Until all have ended, none with an error."""
        for done in self.wait():
            assert done.returncode == 0, done.stderr[-4000:]


def begin(program: str, *arguments: str) -> None:
    """Run the program in this process, which was forked before it was told its rank."""
    import os

    from lightning.pytorch.utilities import rank_zero_only

    rank_zero_only.rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    sys.argv = [program, *arguments]
    if program == "kd":
        from knowledge_distillation.cli import main

        sys.exit(main())
    runpy.run_path(program, run_name="__main__")


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def results(folder: Path, count: int = 2) -> list[dict[str, Any]]:
    """What each process wrote to `rank_N.json`, by rank."""
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in range(count)]


def run_ranks(program: Path, folder: Path, *arguments: str | Path, count: int = 2) -> list[dict[str, Any]]:
    """Run a script that is told a folder and its arguments, and give what each process wrote there."""
    folder.mkdir(parents=True, exist_ok=True)
    Ranks(program, folder, *arguments, count=count, directory=folder).succeed()
    return results(folder, count)


def settings_of(arguments: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """The folder and the settings that such a script was told."""
    return Path(arguments[1]), json.loads(arguments[2]) if len(arguments) > 2 else {}
