"""Ctrl-C or SIGTERM while `kd train` runs."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import torch

from tests.faults.kind import Kind
from tests.faults.training import digest
from tests.processes import Child
from tests.recipes.test_running import MODULE

RECIPE = """
student: {name: slow_net}
data: {name: points, batch_size: 4}
objective: labels
training: {max_epochs: 3, optimizer: adam, doctor: false, trainer: {accelerator: cpu, log_every_n_steps: 1}}
"""
SLOW = """
import time

class Slow(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.step = model, 0

    def forward(self, inputs):
        if self.training:
            self.step += 1
            print("step", self.step, flush=True)
            time.sleep(0.02)
        return self.model(inputs)

def slow_net(classes, features):
    return Slow(net(classes, features))
"""
STEPS = 18


def inject(number: int, folder: Path) -> None:
    kind = (signal.SIGINT, signal.SIGTERM)[number % 2]
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "mine.py").write_text(MODULE + SLOW)
    command = ("kd", "train", "tiny.yaml", "--module", "mine.py", "--directory")
    assert Child(*command, "whole", directory=folder).wait().returncode == 0
    draws = random.Random(number)
    child = Child(*command, "stopped", directory=folder)
    child.wait_for(f"step {draws.randrange(1, STEPS)}\n")
    time.sleep(draws.random() * 0.02)
    child.send(kind)
    done = child.wait()
    assert done.returncode == 128 + kind, done.stderr[-2000:]
    begun = int(done.stdout.split("step ")[-1].split()[0])
    saved = torch.load(folder / "stopped" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert saved == begun, f"{begun} steps were begun, {saved} are in the checkpoint"
    assert Child(*command, "stopped", "--resume", "auto", directory=folder).wait().returncode == 0
    assert digest(folder / "stopped") == digest(folder / "whole")


KIND = Kind(
    title="Ctrl-C or SIGTERM while `kd train` runs",
    survives="the step is finished and saved, the program ends with 130 or 143, and `--resume auto` is exact",
    inject=inject,
    all=20,
    sample=2,
)
