"""Launch files are copied to clusters, where a mistake costs a place in the queue."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import knowledge_distillation as kd
from tests.ranks import free_port

LAUNCH = Path(__file__).parents[2] / "examples" / "launch"
RECIPE = {
    "teacher": {"name": "digits_cnn", "train": {"max_epochs": 1, "optimizer": "adamw", "learning_rate": 0.01}},
    "student": {"name": "image_mlp", "hidden": 8},
    "data": {"name": "digits", "batch_size": 64},
    "objective": {"kd": {"loss": "kd", "weight": 0.9, "temperature": 4}, "cross_entropy": 0.1},
    "training": {"max_epochs": 1, "accelerator": "cpu"},
}
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the launch files are for bash")


@pytest.mark.parametrize("name", sorted(path.name for path in LAUNCH.iterdir()))
def test_every_launch_file_is_bash(name: str) -> None:
    """Otherwise the job ends with a syntax error."""
    assert subprocess.run(["bash", "-n", LAUNCH / name], check=False).returncode == 0


def launched(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a launch file on the recipe in a folder, programs of that folder first."""
    programs = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "PYTHONPATH": str(Path(kd.__file__).parents[1]), **variables}
    return subprocess.run(
        ["bash", str(LAUNCH / name), "recipe.yaml", "run", "--set", "training.seed=3"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def stand_in(folder: Path, name: str, says: str) -> None:
    """A program of this name that writes down how it was called."""
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "{name} $@"\n{says}\n')
    program.chmod(0o755)


@pytest.mark.slow
def test_torchrun_trains_a_recipe_in_two_processes(tmp_path: Path) -> None:
    """Otherwise the first job on the cluster shows what was wrong."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = launched("torchrun.sh", tmp_path, PROCESSES="2", PORT=str(free_port()), **quiet)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Written to run") == 1
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(last["distillation"]["processes"]) == 2


@pytest.mark.parametrize(("name", "starter"), [("torchrun.sh", "torchrun"), ("slurm.sh", "srun")])
def test_a_run_that_was_broken_off_is_continued(name: str, starter: str, tmp_path: Path) -> None:
    """Otherwise the queue starts it again and it refuses to write over itself, or begins anew."""
    stand_in(tmp_path, starter, "")
    fresh = launched(name, tmp_path).stdout
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").touch()  # a run writes it first: it may have been broken off before a checkpoint
    again = launched(name, tmp_path).stdout
    call = "kd train recipe.yaml --directory run"
    assert f"{call} --set training.seed=3" in fresh
    assert f"{call} --resume auto --set training.seed=3" in again


@pytest.mark.parametrize(("code", "queued"), [(143, True), (0, False), (1, False)])
def test_slurm_queues_again_what_ran_out_of_time_and_nothing_else(code: int, queued: bool, tmp_path: Path) -> None:
    """Otherwise a run stops after one allotment, or one that fails is started for ever."""
    stand_in(tmp_path, "srun", f"exit {code}")
    stand_in(tmp_path, "scontrol", "")
    done = launched("slurm.sh", tmp_path, SLURM_JOB_ID="17")
    assert done.returncode == code
    assert ("scontrol requeue 17" in done.stdout) == queued
