"""What goes wrong for a user when a recipe's teacher is not a model of this process."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.reading import check_recipe
from knowledge_distillation.recipes.running import run_recipe
from knowledge_distillation.run import Run
from knowledge_distillation.teachers import BlackBoxTeacher, ServedTeacher
from tests.teachers.language_server import NAME, VOCABULARY, CausalModel, running
from tests.training.toys import QUIET

SERVED = {"name": "served", "url": "http://host", "model": NAME, "vocabulary": VOCABULARY}


def texts() -> Data:
    rows = [{"input_ids": torch.tensor(row), "labels": torch.tensor(row)} for row in ([1, 2, 3], [4, 5, 6])]
    return Data(train=DataLoader(rows, batch_size=2), validation={}, facts={})


def writer(width: int = 4) -> CausalModel:
    return CausalModel(seed=5, width=width)


def next_one(batch: Any) -> torch.Tensor:
    return (batch["input_ids"] + 1) % VOCABULARY


OWN = {"texts": texts, "writer": writer, "next_one": next_one}
HARD = {"hard": {"loss": "cross_entropy", "teacher": "labels"}}


def run(teacher: dict[str, Any], objective: Any) -> Run:
    content = {"teacher": teacher, "student": "writer", "data": "texts", "objective": objective}
    training = {"max_epochs": 1, "trainer": dict(QUIET)}
    return run_recipe(check_recipe({**content, "training": training}, "test"), directory="runs/outside", own=OWN)


def test_a_served_teacher_is_asked_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a recipe with a served teacher trains on something else."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("KD_TEST_KEY", "some-key")
    with running(CausalModel(), key="some-key") as server:
        done = run({**SERVED, "url": server.url, "k": 3, "api_key_env": "KD_TEST_KEY"}, "top_k_kl")
        asked = [request["body"] for request in server.requests if request["body"]]
    assert isinstance(done.module.teacher, ServedTeacher)
    assert [body["prompt_logprobs"] for body in asked] == [3]
    assert asked[0]["prompt"] == [[1, 2, 3, 3], [4, 5, 6, 6]]
    assert "some-key" not in (done.directory / "recipe.yaml").read_text()


def test_a_users_own_function_teaches_its_labels() -> None:
    """Otherwise a black box cannot be used without Python."""
    done = run({"name": "black_box", "answer": "next_one", "classes": VOCABULARY, "identity": "rule 1"}, HARD)
    teacher = done.module.teacher
    assert isinstance(teacher, BlackBoxTeacher)
    assert (teacher.answer, teacher.classes, teacher.identity) == (next_one, VOCABULARY, "rule 1")


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"name": "served", "model": NAME}, r"needs \['url', 'vocabulary'\]"),
        ({**SERVED, "api_key": "k"}, r"no setting 'api_key'.*'api_key_env'"),
        ({**SERVED, "k": "many"}, "k must be a whole number"),
        ({**SERVED, "timeout": "long"}, "timeout"),
        ({"name": "black_box"}, r"name of a function of your own --module.*got None"),
        ({"name": "black_box", "answer": "next_on"}, r"got 'next_on'.*'next_one'"),
        ({"name": "black_box", "answer": "os.system"}, r"got 'os\.system'"),
        ({"name": "black_box", "answer": "next_one", "classes": "all"}, "classes"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(teacher: dict[str, Any], message: str) -> None:
    """Otherwise a typing error in a recipe is a Python traceback, or a name from a file is run."""
    with pytest.raises(ConfigError, match=message):
        run(teacher, HARD if teacher["name"] == "black_box" else "top_k_kl")
