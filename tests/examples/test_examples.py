"""Examples are the first code that a user changes; each must run as it stands, on real data, without a download."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_originals_resnet_demo_teaches_its_student(tmp_path: Path) -> None:
    """Otherwise the original's own demo, the reason that many come, ends in a traceback or an untrained student."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(ROOT / "examples" / "resnet_mnist.py"), "--small"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    teacher = float(re.findall(r"teacher: ([\d.]+)", done.stdout)[0])
    scores = [float(score) for score in re.findall(r"test images :([\d.]+)", done.stdout)]
    assert teacher > 0.9
    assert len(scores) == 5  # once before training, then after each of the four epochs
    assert scores[-1] > 0.9
