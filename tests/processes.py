"""Processes of their own that start at once: forked from one that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import torch

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["knowledge_distillation", "knowledge_distillation.kd_training", "knowledge_distillation.recipes.running"]
)
SECONDS = 600.0
"""Only against a process that hangs: a busy machine may need minutes."""


class Child:
    """A running process.

    Args:
        program: "kd" for the command line, the path of a script, or Python code.
        arguments: of the program.
        environment: variables on top of this process's; None takes one away.
        directory: where it runs; default: here.
    """

    def __init__(
        self,
        program: str | Path,
        *arguments: str | Path,
        environment: Mapping[str, str | None] | None = None,
        directory: Path | None = None,
    ) -> None:
        folder = mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._out, self._err = (Path(folder) / name for name in ("out", "err"))
        given = [str(argument) for argument in arguments]
        changed = {"OMP_NUM_THREADS": "1", **(environment or {})}
        variables = {name: value for name, value in {**os.environ, **changed}.items() if value is not None}
        place = str(directory or Path.cwd())
        self._process = CONTEXT.Process(  # not a daemon: those may have no loader workers
            target=_run, args=(program, given, variables, place, str(self._out), str(self._err)), daemon=False
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def printed(self) -> str:
        """What it wrote to standard output so far."""
        return self._out.read_text() if self._out.exists() else ""

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs; nothing happens to the processes that it started."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait_for(self, text: str, timeout: float = SECONDS) -> None:
        """Until it has printed the text."""
        end = time.monotonic() + timeout
        while text not in self.printed:
            assert self.is_alive, f"It ended without printing {text!r}: {self._err.read_text()[-3000:]}"
            assert time.monotonic() < end, f"It did not print {text!r} in {timeout} seconds."
            time.sleep(0.002)

    def wait(self, timeout: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Until it has ended; one that does not is killed, with all that it started."""
        self._process.join(timeout)
        hangs = self._process.is_alive()
        if hangs:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.join()
        code, out, err = self._process.exitcode, self.printed, self._err.read_text() if self._err.exists() else ""
        self._process.close()
        assert not hangs, f"It had not ended after {timeout} seconds. {out[-1000:]} {err[-3000:]}"
        return subprocess.CompletedProcess([], code, out, err)


def run(
    program: str | Path,
    *arguments: str | Path,
    environment: Mapping[str, str | None] | None = None,
    directory: Path | None = None,
    timeout: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Start it and wait for its end; arguments as of `Child`."""
    return Child(program, *arguments, environment=environment, directory=directory).wait(timeout)


def _run(
    program: str | Path, arguments: Sequence[str], variables: Mapping[str, str], place: str, out: str, err: str
) -> None:
    os.setsid()
    os.chdir(place)
    os.environ.clear()
    os.environ.update(variables)
    for path, descriptor in ((out, 1), (err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # What the server decided for itself when it was started: its own threads, and itself for the workers of a loader,
    # where one that is killed would leave them behind.
    torch.set_num_threads(int(variables["OMP_NUM_THREADS"]))
    multiprocessing.set_start_method(None, force=True)
    sys.argv = [str(program), *arguments]
    if program == "kd":
        from knowledge_distillation.cli import main

        sys.exit(main())
    if isinstance(program, Path):
        runpy.run_path(str(program), run_name="__main__")
    else:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
