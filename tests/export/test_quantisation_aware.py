"""What goes wrong for a user who teaches a student to be rounded, and ships one that is not what was taught."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import knowledge_distillation as kd
from knowledge_distillation.domains.vision.data import digits
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.export import export, quantisation_aware
from knowledge_distillation.recipes.reading import check_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt
from knowledge_distillation.recipes.running import own_names, run_recipe
from tests.export.students import cnn, images, lopsided, mlp, points
from tests.recipes.test_running import MODULE
from tests.training.toys import QUIET, filled, identical, snapshot


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_stand_on_the_grid_of_their_bits(bits: int) -> None:
    """Otherwise what is taught is not what a file of so many bits can hold."""
    student = mlp()
    before = snapshot(student)
    twin = quantisation_aware(student, bits, input_bits=None)
    exact, top = student.hidden.weight.detach().numpy().astype(np.float64), 2 ** (bits - 1) - 1
    scale = np.abs(exact).max(axis=1, keepdims=True) / top
    np.testing.assert_allclose(twin.hidden.weight.detach().numpy(), np.round(exact / scale) * scale, rtol=1e-4)
    assert len(np.unique(np.round(twin.hidden.weight.detach().numpy() / scale))) <= 2**bits - 1
    assert identical(before, snapshot(student))
    assert [path for path, _ in student.named_modules()] == [
        path for path, _ in twin.named_modules() if "parametrizations" not in path
    ]


def test_gradients_pass_as_if_nothing_was_rounded() -> None:
    """Otherwise rounding, whose slope is 0 everywhere, teaches nothing."""
    twin = quantisation_aware(mlp())
    exact = nn.Sequential(*copy.deepcopy(mlp()))
    inputs = points(8)
    rounded_loss = twin(inputs).square().mean()
    rounded_loss.backward()
    exact(inputs).square().mean().backward()
    found = twin.head.parametrizations.weight.original.grad
    torch.testing.assert_close(found, exact[2].weight.grad, rtol=0.1, atol=0.02)
    assert float(found.abs().sum()) > 0


def test_inputs_are_rounded_to_their_own_range() -> None:
    """Otherwise a student is taught for weights alone, and loses by its activations in the file."""
    layer = quantisation_aware(nn.Sequential(nn.Linear(3, 2, bias=False)))
    with torch.no_grad():
        layer[0].parametrizations.weight.original.copy_(torch.eye(2, 3))
    inputs = torch.tensor([[-1.0, 0.013, 0.0], [4.1, 0.5, 0.0]])
    step = 5.1 / 255
    expected = (inputs / step).round() * step
    torch.testing.assert_close(layer(inputs), expected[:, :2], rtol=1e-4, atol=1e-5)


def test_the_rounded_weights_ship(tmp_path: Path) -> None:
    """Otherwise the file holds the weights before rounding, which nobody scored, under names that no model has."""
    twin = quantisation_aware(cnn().eval(), bits=4)
    done = export(twin, "safetensors", tmp_path / "out", example=images(4))
    assert set(load_file(done.file)) == set(cnn().state_dict())
    torch.testing.assert_close(load_file(done.file)["3.weight"], twin[3].weight.detach())
    assert any("quantisation-aware" in note for note in done.manifest["notes"])
    # a copy shares its class with the student, which must go on rounding
    assert "3.parametrizations.weight.original" in twin.state_dict()
    assert len(twin[3].weight.detach()[0].unique()) <= 15


@pytest.mark.slow
def test_int8_after_being_taught_is_closer_than_int8_after_plain_rounding(tmp_path: Path) -> None:
    """Otherwise teaching a rounded student costs a training and buys nothing."""
    data = digits(batch_size=64)
    images, labels = data.train.dataset.tensors
    held, _ = data.validation["test"].dataset.tensors
    teacher = _taught(images, labels).train()
    student = lopsided(copy.deepcopy(teacher), 1 / 80)
    with torch.no_grad():
        torch.testing.assert_close(student(held), teacher(held), rtol=1e-3, atol=1e-3)
    plain = export(student, "int8", tmp_path / "plain", loader=data.validation["test"], tolerance={}).load()
    run = kd.distill(
        teacher, quantisation_aware(student), data.train, objective="forward_kl", max_epochs=4, learning_rate=2e-3,
        directory=tmp_path / "run", trainer=QUIET,
    )  # fmt: skip
    taught = export(run.student, "int8", tmp_path / "taught", loader=data.validation["test"]).load()
    with torch.no_grad():
        goal = teacher(held)
        distances = [_kl(goal, file(held)) for file in (plain, taught)]
        agreements = [float((file(held).argmax(1) == goal.argmax(1)).float().mean()) for file in (plain, taught)]
    assert distances[0] > 0.01, "plain rounding lost nothing, so this test shows nothing"
    assert distances[1] < distances[0] / 2
    assert agreements[1] >= agreements[0]


def test_a_recipe_teaches_a_rounded_student_and_gives_it_back(tmp_path: Path) -> None:
    """Otherwise the run's directory is rebuilt as a student that does not round, or cannot be read at all."""
    (tmp_path / "mine.py").write_text(MODULE)
    own = own_names(tmp_path / "mine.py")
    content = {
        "teacher": {"name": "net", "hidden": 16},
        "student": {"name": "net", "hidden": 64},
        "data": "points",
        "training": {"max_epochs": 1, "trainer": dict(QUIET), "quantisation_aware": {"bits": 4}},
    }
    run = run_recipe(check_recipe(content, "test"), directory=tmp_path / "run", own=own)
    written = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert written["training"]["quantisation_aware"] == {"bits": 4}
    student, data, _ = rebuilt(tmp_path / "run", own)
    inputs, _ = next(iter(data.validation["test"]))
    with torch.no_grad():
        torch.testing.assert_close(student(inputs), run.student.eval()(inputs))
    steps = student[0].weight.detach() / (student[0].weight.detach().abs().amax(dim=1, keepdim=True) / 7)
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"quantisation_aware": 8}}, "must be true, or a mapping"),
        ({"training": {"quantisation_aware": {"bit": 8}}}, "Did you mean 'bits'"),
        ({"training": {"quantisation_aware": {"bits": 9}}}, "from 2 to 8"),
        ({"training": {"quantisation_aware": True}, "teacher": "ema"}, "full precision"),
        ({"training": {"quantisation_aware": True}, "method": {"name": "born_again"}}, "makes several"),
        ({"teacher": {"name": "net", "train": {"quantisation_aware": True}}}, "unknown key 'quantisation_aware'"),
    ],
)
def test_wrong_settings_in_a_recipe_are_named(changes: dict, message: str, tmp_path: Path) -> None:
    """Otherwise a recipe trains for an hour without what it asked for."""
    (tmp_path / "mine.py").write_text(MODULE)
    content = {"teacher": "net", "student": "net", "data": "points", **changes}
    with pytest.raises(ConfigError, match=message):
        run_recipe(check_recipe(content, "test"), directory=tmp_path / "run", own=own_names(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (mlp(), {"bits": 1}, "bits must be a whole number from 2 to 8"),
        (mlp(), {"input_bits": 16}, "input_bits must be a whole number"),
        (nn.ReLU(), {}, "neither linear nor convolution"),
    ],
)
def test_wrong_arguments_are_named(model: nn.Module, settings: dict, message: str) -> None:
    """Otherwise nothing is rounded and nobody is told."""
    with pytest.raises(ConfigError, match=message):
        quantisation_aware(model, **settings)


def _taught(images: Tensor, labels: Tensor) -> nn.Module:
    """A real classifier of digits; a second of training."""
    layers = OrderedDict(flat=nn.Flatten(), hidden=nn.Linear(64, 48), act=nn.ReLU(), head=nn.Linear(48, 10))
    model = filled(nn.Sequential(layers), 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(4):
        for batch, wanted in DataLoader(TensorDataset(images, labels), batch_size=64):
            optimizer.zero_grad()
            F.cross_entropy(model(batch), wanted).backward()
            optimizer.step()
    return model.eval()


def _kl(goal: Tensor, given: Tensor) -> float:
    return float(F.kl_div(given.log_softmax(-1), goal.log_softmax(-1), log_target=True, reduction="batchmean"))
