"""What goes wrong for a user when two trainings write to one directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.training.run_lock import RunLock
from tests.processes import Child
from tests.run.test_distill import train

HOLDS = """
import fcntl, os, sys, time
file = open(os.path.join(sys.argv[1], ".lock"), "w")
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
file.write(f"process {os.getpid()} on somewhere")
file.flush()
print("held", flush=True)
time.sleep(600)
"""
"""Another holder of the system's lock, without a line of the toolkit."""


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, and is killed at the end."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(directory)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.send_signal(signal.SIGKILL)


def test_a_second_training_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    """Otherwise two runs mix their checkpoints, or a crash locks the directory for good."""
    with holder(tmp_path) as child:
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(ConfigError, match=rf"Another training writes to {tmp_path} \(process {child.pid} on "):
            train(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert train(tmp_path, max_epochs=1).scores


def test_the_lock_ends_with_the_training(tmp_path: Path) -> None:
    """Otherwise a directory can be used once in a program."""
    with RunLock(tmp_path):
        pass
    with holder(tmp_path):
        assert "process" in (tmp_path / ".lock").read_text()


FORKS = """
import multiprocessing, os, sys, time
from pathlib import Path
from knowledge_distillation.training.run_lock import RunLock
def work():
    print(os.getpid(), flush=True)
    time.sleep(600)
with RunLock(Path(sys.argv[1])):
    multiprocessing.get_context("fork").Process(target=work).start()
    time.sleep(600)
"""
"""The worker says that it is there itself: a moment after the fork it may not yet have run a line."""


def test_workers_that_outlive_a_killed_training_do_not_hold_its_lock(tmp_path: Path) -> None:
    """Otherwise a run with loader workers cannot be continued until they notice that it is gone."""
    child = Child(FORKS, tmp_path)
    child.wait_for("\n")
    worker = int(child.printed)
    child.send(signal.SIGKILL)
    assert child.wait().returncode == -signal.SIGKILL
    os.kill(worker, 0)  # it is there
    try:
        with RunLock(tmp_path):
            assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()
    finally:
        os.kill(worker, signal.SIGKILL)
