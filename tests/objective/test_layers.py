"""What goes wrong for a user when a role such as "@stages" names other layers than it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.domains.vision.models import resnet20, small_cnn
from knowledge_distillation.errors import CaptureError, ConfigError
from knowledge_distillation.objective.layers import ROLES, find_role
from tests.training.toys import Difficult, flags, hooks_on, snapshot

IMAGES = (torch.zeros(2, 3, 32, 32),)


class Encoder(nn.Module):
    """A transformer of three layers with an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.layer = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True) for _ in range(3)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embed(ids)
        for layer in self.layer:
            hidden = layer(hidden)
        return self.head(hidden.mean(dim=1))


def outputs(model: nn.Module, paths: object, inputs: Tensor) -> list[Tensor]:
    """What the modules at the paths return, read with torch's own hooks."""
    seen: list[Tensor] = []
    handles = [
        model.get_submodule(path).register_forward_hook(lambda _, __, output: seen.append(output)) for path in paths
    ]
    with torch.no_grad():
        model.eval()(inputs)
    for handle in handles:
        handle.remove()
    return seen


def test_stages_of_a_resnet_are_the_ends_of_its_three_stages() -> None:
    """Otherwise attention transfer compares layers of equal size and misses a stage."""
    model, images = resnet20(), torch.randn(2, 3, 32, 32)
    stages = find_role("@stages", model, (images,), "student")
    expected = outputs(model, ("layer1", "layer2", "layer3"), images)
    assert all(map(torch.equal, outputs(model, stages, images), expected))
    assert len(stages) == 3
    assert find_role("@last", model, (images,), "student") == stages[2]
    assert find_role("@middle", model, (images,), "student") == stages[1]
    assert find_role("@embedding", model, (images,), "student") == "input:linear"


def test_stages_of_a_transformer_are_its_layers() -> None:
    """Otherwise a term on a transformer reads its sub-modules or its embedding."""
    ids = (torch.zeros(2, 5, dtype=torch.long),)
    assert find_role("@stages", Encoder(), ids, "teacher") == ("layer.0", "layer.1", "layer.2")
    assert find_role("@last", Encoder(), ids, "teacher") == "layer.2"
    assert find_role("@embedding", Encoder(), ids, "teacher") == "input:head"


def test_a_plain_sequential_has_one_stage_for_every_size() -> None:
    """Otherwise models without named stages cannot use the presets."""
    model = small_cnn(width=4)
    stages = find_role("@stages", model, (torch.zeros(2, 1, 28, 28),), "student")
    shapes = [tuple(output.shape[1:]) for output in outputs(model, stages, torch.zeros(2, 1, 28, 28))]
    assert shapes == [(4, 14, 14), (8, 7, 7), (8, 4, 4)]


def test_looking_leaves_the_model_as_it_was() -> None:
    """Otherwise asking for layers changes batch statistics, modes or hooks."""
    model = resnet20()
    before, modes = snapshot(model), flags(model)
    for role in ROLES:
        find_role(role, model, (torch.randn(2, 3, 32, 32),), "student")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert flags(model) == modes
    assert hooks_on(model) == 0


def test_an_unknown_role_shows_the_near_one() -> None:
    """Otherwise '@stage' is taken for a module path."""
    with pytest.raises(ConfigError, match=r"no role '@stage'.*Did you mean '@stages'"):
        find_role("@stage", Difficult(), (torch.zeros(2, 5),), "student")


def test_a_model_without_such_a_layer_is_named_by_its_side() -> None:
    """Otherwise the user looks for the fault in the other model."""
    with pytest.raises(ConfigError, match="student has no linear layer"):
        find_role("@embedding", nn.Conv2d(3, 2, 3), IMAGES, "student")
    with pytest.raises(CaptureError, match="Flatten shows no layer"):
        find_role("@stages", nn.Flatten(0), IMAGES, "teacher")
