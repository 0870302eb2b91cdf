"""What goes wrong for a user when importing the toolkit does something: a process, a connection, a thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BEGINS = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn", "subprocess.Popen",
    "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "_thread.start_new_thread",
    "urllib.Request",
)  # fmt: skip
PROGRAM = f"""
import importlib, json, pkgutil, sys, threading
begun = []
sys.addaudithook(lambda event, arguments: begun.append(event) if event in {BEGINS!r} else None)
%s
print(json.dumps({{"begun": begun, "threads": [thread.name for thread in threading.enumerate()], "modules": names}}))
"""
EVERYTHING = """
import knowledge_distillation as package
names = [package.__name__, *(module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."))]
for name in names:
    importlib.import_module(name)
"""


def seen(statements: str) -> dict[str, Any]:
    """What a fresh interpreter, not a fork of one, has begun after these statements."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % statements], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_importing_every_module_begins_nothing() -> None:
    """Otherwise a look at the version connects somewhere, as the releases of Lightning that were compromised did."""
    found = seen(EVERYTHING)
    assert len(found["modules"]) > 300
    assert found["begun"] == []
    assert found["threads"] == ["MainThread"]


@pytest.mark.parametrize(
    "statement",
    [
        "import subprocess; subprocess.run(['true'])",
        "import socket; socket.socket().close()",
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    ],
    ids=["process", "socket", "thread"],
)
def test_what_is_begun_is_seen(statement: str) -> None:
    """Otherwise the test above cannot fail."""
    found = seen(f"{statement}\nnames = []")
    assert found["begun"] or found["threads"] != ["MainThread"]
