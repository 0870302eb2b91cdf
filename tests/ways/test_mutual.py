"""What goes wrong for a user when students that learn together are not taught by each other, or move each other."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_model
from torch import nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.capture.adapters import auto
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.teachers import SelfTeacher
from knowledge_distillation.ways import mutual
from knowledge_distillation.ways.mutual import Cohort, cohort_adapter, paper_objective, peer_terms
from tests.training.toys import QUIET, identical, loader, mlp, snapshot

RATE = 0.1


def by_hand(models: list[nn.Module], epochs: int, weight: float = 1.0) -> None:
    """Deep Mutual Learning with an optimiser of its own for each network, and peers that are constants."""
    optimizers = [torch.optim.SGD(model.parameters(), lr=RATE) for model in models]
    for _ in range(epochs):
        for inputs, labels in loader():
            said = [model(inputs) for model in models]
            losses = []
            for mine in said:
                peers = [other.detach().softmax(-1) for other in said if other is not mine]
                apart = [F.kl_div(mine.log_softmax(-1), peer, reduction="batchmean") for peer in peers]
                losses.append(F.cross_entropy(mine, labels) + weight * sum(apart) / len(apart))
            for loss, optimizer in zip(losses, optimizers, strict=True):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


@pytest.mark.parametrize("count", [2, 3])
def test_each_student_moves_as_if_its_peers_were_constant(count: int, tmp_path: Path) -> None:
    """Otherwise a student is also moved by what its peers should learn, and all of them drift to one answer."""
    models = [mlp(seed, hidden=6 + seed) for seed in range(1, count + 1)]
    expected = copy.deepcopy(models)
    by_hand(expected, epochs=3)
    runs = mutual(
        models, loader(), optimizer=torch.optim.SGD, learning_rate=RATE, max_epochs=3, directory=tmp_path / "run",
        trainer=QUIET,
    )  # fmt: skip
    assert [run.student for run in runs.values()] == models
    for model, target in zip(models, expected, strict=True):
        for name, tensor in target.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_terms_of_one_student_give_its_peers_no_gradient() -> None:
    """Otherwise a strong student is pulled down to a weak one's answers by the weak one's own loss."""
    students = {"student": mlp(1), "strong": mlp(2)}
    own = {name: term for name, term in peer_terms(paper_objective(), list(students)).items() if "student_" in name}
    module = DistillationModule(Cohort(students), SelfTeacher(), own, adapter=cohort_adapter(auto))
    module.setup("fit")
    total, _ = module.distillation_loss(next(iter(loader())))
    total.backward()
    assert "student_kd_from_strong" in own
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in students["student"].parameters())
    assert not any(p.grad is not None and p.grad.any() for p in students["strong"].parameters())


def test_every_student_is_scored_and_saved_under_its_own_name(tmp_path: Path) -> None:
    """Otherwise a user ships a peer's weights under the student's score."""
    students = {"student": mlp(1), "big": mlp(2, hidden=16)}
    runs = mutual(
        students, loader(shuffle=True), {"test": loader(seed=5)}, max_epochs=2, learning_rate=1e-2,
        directory=tmp_path / "run", trainer=QUIET,
    )  # fmt: skip
    files = {"student": ("student", mlp(8)), "big": ("peer-big", mlp(8, hidden=16))}
    for name, (file, fresh) in files.items():
        load_model(fresh, str(tmp_path / "run" / f"{file}.safetensors"))
        assert identical(snapshot(fresh), snapshot(students[name]))
        inputs, labels = loader(seed=5).dataset.tensors
        right = float((fresh.eval()(inputs).argmax(-1) == labels).float().mean())
        assert runs[name].scores == {"test": pytest.approx(right, abs=1e-6)}
    assert not identical(snapshot(students["student"]), snapshot(mlp(1)))


@pytest.mark.parametrize(
    ("students", "objective", "complaint"),
    [
        (lambda: [mlp()], None, "at least two"),
        (lambda: [mlp()] * 2, None, "at least two"),
        (lambda: {"a b": mlp(1), "c": mlp(2)}, None, "'a b'"),
        (lambda: {"keys": mlp(1), "c": mlp(2)}, None, "'keys'"),
        (lambda: [mlp(1), mlp(2)], {"hint": {"loss": "hint", "student": "hidden", "teacher": "hidden"}}, "'hint'"),
    ],
    ids=["one student", "one student twice", "space in a name", "name of a method", "layers"],
)
def test_cohorts_that_cannot_learn_are_named(students: Any, objective: Any, complaint: str, tmp_path: Path) -> None:
    """Otherwise a student silently teaches itself, or the run fails far from its cause."""
    with pytest.raises(ConfigError, match=complaint):
        mutual(students(), loader(), objective=objective, directory=tmp_path / "run", trainer=QUIET)
