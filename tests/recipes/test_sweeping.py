"""What goes wrong for a user who lets a sweep find their settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import own_names, run_recipe
from knowledge_distillation.recipes.sweeping import Sweep, sweep_recipe
from tests.processes import run
from tests.recipes.test_running import MODULE, recipe
from tests.training.toys import QUIET

TAUGHT = {"name": "net", "hidden": 8, "train": {"max_epochs": 1, "trainer": QUIET}}
OVER = ["training.learning_rate=1e-4..1.0:log", "objective.kd.temperature=[1, 4]"]
OBJECTIVE = {"kd": {"loss": "kd", "weight": 0.9}, "cross_entropy": 0.1}
MORTAL = '''

import os
from pathlib import Path

class Mortal(nn.Sequential):
    """Ends all in the third trial: by Ctrl-C in its first epoch, or the whole process in its second."""

    def forward(self, inputs):
        how, place = os.environ.get("END", ""), Path("killed/trials/002")
        if how and self.training and place.is_dir():
            if how == "interrupt":
                raise KeyboardInterrupt
            if (place / "checkpoints" / "last.ckpt").exists():
                os._exit(9)
        return super().forward(inputs)

def net(classes, features, hidden=4):
    return Mortal(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))
'''
PROGRAM = """
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import own_names
from knowledge_distillation.recipes.sweeping import sweep_recipe
over = ["training.learning_rate=1e-4..1.0:log", "objective.kd.temperature=[1, 4]"]
sweep_recipe(read_recipe("plain.yaml"), over, trials=4, directory="killed", own=own_names("mortal.py"), resume=True)
"""


@pytest.fixture
def own(workplace: Path) -> dict[str, Any]:
    (workplace / "mine.py").write_text(MODULE)
    return own_names(workplace / "mine.py")


def plain(**sections: Any) -> Any:
    return recipe(**json.loads(json.dumps({"teacher": TAUGHT, "objective": OBJECTIVE, **sections})))


def alone(**sections: Any) -> Any:
    """Without a teacher, so that a trial is one training of two epochs."""
    return plain(teacher=None, objective={"kd": {"loss": "cross_entropy"}}, **sections)


def sweep(own: dict[str, Any], directory: str, over: list[str] | None = None, **settings: Any) -> Sweep:
    given = {"trials": 4, **settings}
    return sweep_recipe(given.pop("recipe", plain()), over or OVER, directory=directory, own=own, **given)


def told(found: Sweep) -> list[Any]:
    return [(row["number"], row["state"], row["score"], row["values"]) for row in found.trials]


@pytest.mark.slow
def test_the_best_recipe_gives_the_best_score_again(own: dict[str, Any], workplace: Path) -> None:
    """Otherwise what is written out is another training than the one that won."""
    found = sweep(own, "sweep")
    scores = [row["score"] for row in found.trials if row["state"] == "complete"]
    assert found.best["score"] == max(scores)
    assert len(set(scores)) > 1
    best = read_recipe("sweep/best.yaml")
    assert best.training["learning_rate"] == found.best["values"]["training.learning_rate"]
    assert best.objective["kd"]["temperature"] == found.best["values"]["objective.kd.temperature"]
    assert best.sweep is None
    again = run_recipe(best, directory="again", own=own)
    assert again.scores["test"] == pytest.approx(found.best["score"], abs=0)


def test_the_teacher_is_trained_once_and_found_again(own: dict[str, Any], workplace: Path) -> None:
    """Otherwise most of a sweep's time goes into equal teachers, or a trial's report has none."""
    sweep(own, "sweep", trials=2)
    assert Path("sweep/teacher/student.safetensors").is_file()
    assert not list(Path("sweep/trials").glob("*/teacher*"))
    assert rebuilt_run("sweep/trials/001", own).notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("over", ["teacher.hidden=4..16", "data.count=[16, 24]", "training.seed=0..9"])
def test_a_teacher_that_the_sweep_changes_is_trained_in_each_trial(
    over: str, own: dict[str, Any], workplace: Path
) -> None:
    """Otherwise the settings of a teacher are varied, and the first teacher teaches every time."""
    sweep(own, "sweep", [over], trials=2)
    assert len(list(Path("sweep/trials").glob("*/teacher/student.safetensors"))) == 2


@pytest.mark.slow
def test_a_sweep_that_was_stopped_and_killed_goes_on_as_if_nothing_had_been(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a machine that is switched off costs the sweep, or makes it another one."""
    (workplace / "mortal.py").write_text(MODULE + MORTAL)
    training = {"max_epochs": 2, "trainer": QUIET}
    data = {"student": {"name": "net"}, "data": {"name": "points"}, "training": training}
    Path("plain.yaml").write_text(json.dumps({"teacher": TAUGHT, "objective": OBJECTIVE, **data}))
    own, plain = own_names("mortal.py"), read_recipe("plain.yaml")
    whole = sweep_recipe(plain, OVER, trials=4, directory="whole", own=own)
    monkeypatch.setenv("END", "interrupt")
    with pytest.raises(KeyboardInterrupt):
        sweep_recipe(plain, OVER, trials=4, directory="killed", own=own)
    assert not Path("killed/trials/002/checkpoints/last.ckpt").exists()
    monkeypatch.setenv("END", "kill")
    died = run(PROGRAM)
    assert died.returncode == 9, died.stderr[-500:]
    assert Path("killed/trials/002/checkpoints/last.ckpt").exists()
    assert len(json.loads(Path("killed/sweep.json").read_text())["trials"]) == 2
    monkeypatch.setenv("END", "")
    gone_on = sweep_recipe(plain, OVER, trials=4, directory="killed", own=own, resume=True)
    assert told(gone_on) == told(whole)
    assert Path("killed/best.yaml").read_text() == Path("whole/best.yaml").read_text()


@pytest.mark.slow
def test_a_trial_stopped_while_its_own_teacher_learnt_goes_on(own: dict[str, Any], workplace: Path) -> None:
    """Otherwise the trial's half a teacher is a directory that nobody may write to, and the trial fails for good."""
    steps = 0

    class Stopped(nn.Sequential):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            nonlocal steps
            steps += self.training
            if steps == 5:
                raise KeyboardInterrupt
            return super().forward(inputs)

    def teacher(classes: int, features: int, hidden: int = 4) -> nn.Module:
        return Stopped(*own["net"](classes, features, hidden))

    names = {**own, "taught": teacher}
    given = plain(teacher={**TAUGHT, "name": "taught", "train": {"max_epochs": 2, "trainer": QUIET}})
    with pytest.raises(KeyboardInterrupt):
        sweep(names, "stopped", ["teacher.hidden=4..16"], trials=1, recipe=given)
    assert Path("stopped/trials/000/teacher/checkpoints/last.ckpt").exists()
    gone_on = sweep(names, "stopped", ["teacher.hidden=4..16"], trials=1, recipe=given, resume=True)
    whole = sweep(names, "whole", ["teacher.hidden=4..16"], trials=1, recipe=given)
    assert told(gone_on) == told(whole)
    assert gone_on.trials[0]["state"] == "complete"


@pytest.mark.slow
def test_more_trials_can_follow_and_another_sweep_cannot(own: dict[str, Any], workplace: Path) -> None:
    """Otherwise two sweeps are mixed in one table, and its best is the best of neither."""
    given = alone()
    over = ["training.learning_rate=1e-4..1.0:log"]
    first = sweep(own, "sweep", over, trials=2, recipe=given)
    with pytest.raises(ConfigError, match="already holds a sweep"):
        sweep(own, "sweep", over, trials=3, recipe=given)
    with pytest.raises(ConfigError, match="begun with another seed"):
        sweep(own, "sweep", over, seed=1, resume=True, recipe=given)
    with pytest.raises(ConfigError, match="begun with another over"):
        sweep(own, "sweep", ["training.learning_rate=1e-4..0.1:log"], resume=True, recipe=given)
    with pytest.raises(ConfigError, match="begun with another recipe"):
        sweep(own, "sweep", over, recipe=alone(student={"name": "net", "hidden": 5}), resume=True)
    more = sweep(own, "sweep", over, trials=3, resume=True, recipe=given)
    assert told(more)[:2] == told(first)
    assert len(more.trials) == 3
    with pytest.raises(ConfigError, match="no sweep in elsewhere to go on with"):
        sweep(own, "elsewhere", resume=True)


def test_another_seed_chooses_other_values(own: dict[str, Any], workplace: Path) -> None:
    """Otherwise every sweep tries the same."""
    over = ["training.learning_rate=1e-4..1.0:log"]
    one, other = (sweep(own, f"sweep-{seed}", over, trials=1, seed=seed, recipe=alone()) for seed in (0, 7))
    assert one.trials[0]["values"] != other.trials[0]["values"]


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_pruned(own: dict[str, Any], workplace: Path) -> None:
    """Otherwise hopeless settings are trained to their end. Rates of 0 learn nothing, so they stay below the median."""
    many = alone(training={"max_epochs": 4, "trainer": QUIET})
    found = sweep(own, "sweep", ["training.learning_rate=[1e-12, 0.1]"], trials=10, recipe=many)
    pruned = [row for row in found.trials if row["state"] == "pruned"]
    assert pruned
    assert all(row["values"]["training.learning_rate"] == 1e-12 for row in pruned)
    assert all(row["number"] >= 5 and row["score"] is None and row["epochs"] < 4 for row in pruned)
    assert found.best["values"] == {"training.learning_rate": 0.1}
    assert not list(Path("sweep/trials").glob("*/checkpoints"))


@pytest.mark.slow
def test_a_trial_that_fails_leaves_its_reason_and_the_sweep_goes_on(own: dict[str, Any], workplace: Path) -> None:
    """Otherwise one impossible pair of settings ends a night of trials."""

    def picky(classes: int, features: int, hidden: int = 4, depth: int = 1) -> Any:
        made = own["net"](classes, features, hidden)
        if depth == 2 and hidden == 8 and Path("sweep/trials").is_dir():
            raise ConfigError("not this pair")
        return made

    over = ["student.hidden=[4, 8]", "student.depth=[1, 2]"]
    lines: list[str] = []
    found = sweep({**own, "picky": picky}, "sweep", over, trials=6, recipe=alone(student={"name": "picky"}),
                  progress=lines.append)  # fmt: skip
    failed = [row for row in found.trials if row["state"] == "failed"]
    assert failed
    assert all(row["values"] == {"student.hidden": 8, "student.depth": 2} for row in failed)
    assert all(row["why"] == "ConfigError: not this pair" for row in failed)
    assert len(lines) == 6
    assert any("failed: ConfigError: not this pair" in line for line in lines)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("objective.kd.temprature=1..4", "temprature"),
        ("training.learning_rat=1..4", "Did you mean 'learning_rate'"),
        ("student.hiden=1..4", "Did you mean 'hidden'"),
        ("training.optimizer=[adamw, adamx]", "adamx"),
        ("objective.kd.loss=[kd, dkdd]", "dkdd"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_trained(
    over: str, message: str, own: dict[str, Any], workplace: Path
) -> None:
    """Otherwise a misspelt setting is found after the teacher's training, or never."""
    with pytest.raises(ConfigError) as raised:
        sweep(own, "sweep", [over])
    assert message in str(raised.value)
    assert not Path("sweep").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "at least 1"),
        ({"seed": -1}, "seed of a sweep"),
        ({"metric": "tset"}, "Did you mean 'test'"),
    ],
)
def test_wrong_arguments_are_refused(
    settings: dict[str, Any], message: str, own: dict[str, Any], workplace: Path
) -> None:
    """Otherwise a sweep of nothing reports a best of nothing."""
    with pytest.raises(ConfigError, match=message):
        sweep(own, "sweep", **settings)
