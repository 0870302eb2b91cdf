"""What goes wrong for a user when a recipe's teacher or method is another than it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.reading import check_recipe
from knowledge_distillation.recipes.running import run_recipe
from knowledge_distillation.run import Run
from knowledge_distillation.teachers import ConfidentTeacher, EMATeacher, EnsembleTeacher, RoutedTeacher
from tests.training.toys import QUIET, identical, mlp, points, snapshot

TRAINING = {"max_epochs": 2, "learning_rate": 1e-2, "trainer": dict(QUIET)}
TRAINED = {"name": "net", "hidden": 8, "train": dict(TRAINING)}


class Breaking(TensorDataset):
    """Points until the power goes off."""

    left = -1

    def __getitem__(self, index: int) -> Any:
        Breaking.left -= 1
        if Breaking.left == 0:
            raise RuntimeError("the power went off")
        return super().__getitem__(index)


def data() -> Data:
    """24 points of three classes."""
    tensors = points().tensors
    loaders = DataLoader(Breaking(*tensors), batch_size=8, shuffle=True), DataLoader(TensorDataset(*tensors), 8)
    return Data(train=loaders[0], validation={"test": loaders[1]}, facts={"classes": 3})


def net(classes: int, hidden: int = 4) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def constant(classes: int, sure_of: int = 0) -> nn.Module:
    """Always says the same class."""
    model = mlp()
    nn.init.zeros_(model.head.weight)
    with torch.no_grad():
        model.head.bias.copy_(20.0 * nn.functional.one_hot(torch.tensor(sure_of), classes))
    return model


def by_sign(batch: tuple[Tensor, Tensor]) -> Tensor:
    """Teacher 1 for inputs whose first number is positive."""
    return (batch[0][:, 0] > 0).long()


OWN = {"data": data, "net": net, "constant": constant, "by_sign": by_sign}


def run(directory: Path, resume: str | None = None, **sections: Any) -> Run:
    content = {"student": {"name": "net"}, "data": "data", "training": TRAINING, **sections}
    return run_recipe(check_recipe(content, "test"), directory=directory, own=OWN, resume=resume)


@pytest.mark.parametrize("route", ["by_sign", [[0], [1, 2]]], ids=["own function", "groups of classes"])
def test_a_routed_teacher_sends_each_sample_where_the_recipe_says(route: Any, tmp_path: Path) -> None:
    """Otherwise specialists are asked about what they do not know."""
    members = [{"name": "constant", "sure_of": 1}, {"name": "constant", "sure_of": 2}]
    done = run(tmp_path / "run", teacher={"name": "routed", "members": members, "route": route}, objective="soft")
    teacher = done.module.teacher
    assert isinstance(teacher, RoutedTeacher)
    inputs, labels = points().tensors
    teacher.prepare(torch.device("cpu"))
    answer = teacher.signals((inputs, labels), ("logits",)).logits
    teacher.release()
    chosen = inputs[:, 0] > 0 if route == "by_sign" else labels > 0
    assert torch.equal(answer.argmax(-1), 1 + chosen.long())


@pytest.mark.parametrize(
    ("teacher", "kind"),
    [
        ({"name": "ensemble", "members": [TRAINED, TRAINED], "weights": [1, 3], "combine": "logits"}, EnsembleTeacher),
        ({"name": "confident", "members": [TRAINED, TRAINED], "by": "entropy"}, ConfidentTeacher),
    ],
)
def test_members_that_are_trained_first_become_different_models(teacher: Any, kind: type, tmp_path: Path) -> None:
    """Otherwise an ensemble of equal models is one model at the price of several."""
    done = run(tmp_path / "run", teacher=teacher)
    assert isinstance(done.module.teacher, kind)
    first, second = (load_file(tmp_path / "run" / f"teacher-{number}" / "student.safetensors") for number in (1, 2))
    assert not identical(first, second)
    facts = [json.loads((tmp_path / "run" / f"teacher-{number}" / "environment.json").read_text()) for number in (1, 2)]
    assert [fact["seed"] for fact in facts] == [0, 1]  # the order of the batches differs as well


def test_a_decay_in_the_recipe_is_that_of_the_average(tmp_path: Path) -> None:
    """Otherwise the average moves at another speed than was written down."""
    done = run(tmp_path / "run", teacher={"name": "ema", "decay": 0.25})
    assert isinstance(done.module.teacher, EMATeacher)
    assert done.module.teacher.decay == 0.25


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 3, 5], ids=["teacher", "assistant", "student"])
@pytest.mark.parametrize("method", [{"name": "assistants", "students": ["net"]}, {"name": "born_again"}], ids=str)
def test_a_chain_that_was_broken_off_anywhere_goes_on_to_the_same_student(
    method: dict[str, Any], passes: int, tmp_path: Path
) -> None:
    """Otherwise the directory can neither be continued nor begun anew, or another student comes out."""
    sections = {"teacher": TRAINED, "method": method}
    whole = run(tmp_path / "whole", **sections)
    Breaking.left = passes * 24 + 12
    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path / "broken", **sections)
    again = run(tmp_path / "broken", resume="auto", **sections)
    assert identical(snapshot(again.student), snapshot(whole.student))
    assert again.scores == whole.scores


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"method": "mutal"}, "no method named 'mutal'.*'mutual'"),
        ({"method": {"name": "born_again", "generation": 3}, "teacher": "net"}, "'generation'.*'generations'"),
        ({"method": {"name": "data_free", "size": 8}, "teacher": "net"}, "no setting 'size'"),
        ({"method": "born_again"}, "needs a teacher section"),
        ({"method": "mutual", "teacher": "net"}, "no teacher"),
        ({"method": "mutual"}, "peers: a list of models"),
        ({"method": {"name": "assistants", "students": "net"}, "teacher": "net"}, "students: a list of models"),
        ({"method": "born_again", "teacher": "ema"}, "made of the student"),
        ({"method": "data_free", "teacher": "net"}, "channels and size"),
        ({"teacher": {"name": "ema", "decy": 0.9}}, "'decy'.*'decay'"),
        ({"teacher": "ensemble"}, "members must be a list"),
        ({"teacher": {"name": "ensemble", "members": ["net", 5]}}, "got 5"),
        ({"teacher": {"name": "ensemble", "members": ["nett"]}}, "no model named 'nett'"),
        (
            {"teacher": {"name": "ensemble", "members": [TRAINED, {"name": "net", "train": {"optimizer": "admw"}}]}},
            "'admw'.*'adamw'",
        ),
        ({"teacher": {"name": "routed", "members": ["net"], "route": "by_sing"}}, "'by_sing'.*'by_sign'"),
    ],
    ids=str,
)
def test_a_teacher_or_method_that_cannot_be_is_named(sections: Any, complaint: str, tmp_path: Path) -> None:
    """Otherwise a misspelt setting is ignored, or the run fails far from its cause."""
    with pytest.raises(ConfigError, match=complaint):
        run(tmp_path / "run", **sections)
    assert not list(tmp_path.rglob("*.safetensors"))
