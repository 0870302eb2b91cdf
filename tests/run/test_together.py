"""What goes wrong for a user whose training runs in several processes and is broken off in one of them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.faults.training import digest
from tests.ranks import Ranks
from tests.run.rank_run import start
from tests.run.test_distill import Noisy


@pytest.mark.parametrize(("number", "code", "asked"), [(signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 0)], ids=str)
def test_a_signal_to_one_process_stops_all_with_one_checkpoint(
    number: int, code: int, asked: int, tmp_path: Path
) -> None:
    """Otherwise the others wait for it for ever, or each writes over the checkpoint at a step of its own."""
    start(tmp_path / "whole").succeed()
    ranks = start(tmp_path / "run")
    ranks.children[asked].wait_for("batch 5.")
    ranks.children[asked].send(number)
    done = ranks.wait()
    assert ["done." in each.stdout for each in done] == [False, False]
    assert [each.returncode for each in done] == [code, code], done[0].stderr[-3000:]
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    start(tmp_path / "run", resume="auto").succeed()
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


@pytest.mark.parametrize(("how", "other"), [("killed", (-signal.SIGKILL, "")), ("raises", (0, "lives on.\n"))])
def test_a_process_that_cannot_notice_ends_with_the_one_that_has_died(
    how: str, other: tuple[int, str], tmp_path: Path
) -> None:
    """Otherwise it waits half an hour within gloo; or one that lives on after an error of its own is ended with it."""
    waiting, gone = lonely(how, tmp_path).wait(timeout=40)
    assert (waiting.returncode, waiting.stdout) == (1, "")
    assert "one has ended in the middle of the training" in waiting.stderr
    assert (gone.returncode, gone.stdout) == other
    assert "has ended in the middle" not in gone.stderr


def test_a_process_that_ends_later_than_the_others_is_left_alone(tmp_path: Path) -> None:
    """Otherwise whoever is slower to write its last checkpoint is killed over it."""
    for done in lonely("well", tmp_path).wait():
        assert (done.returncode, done.stdout) == (0, "trained.\n"), done.stderr[-2000:]


def lonely(how: str, folder: Path) -> Ranks:
    """Two processes of which the second goes, in the way that tests/run/lonely_run.py says."""
    settings = json.dumps({"how": how})
    return Ranks(Path(__file__).with_name("lonely_run.py"), folder / "run", settings, directory=folder)


@pytest.mark.slow
def test_a_sharded_student_is_broken_off_goes_on_and_is_written_whole(tmp_path: Path) -> None:
    """Otherwise FSDP trains, and leaves a part of a student that nobody can load."""
    start(tmp_path / "whole", sharded=True).succeed()
    ranks = start(tmp_path / "run", sharded=True)
    ranks.children[1].wait_for("batch 5.")
    ranks.children[0].send(signal.SIGTERM)
    assert [done.returncode for done in ranks.wait()] == [143, 143]
    start(tmp_path / "run", resume="auto", sharded=True).succeed()
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")
    Noisy().load_state_dict(load_file(tmp_path / "run" / "student.safetensors"))
