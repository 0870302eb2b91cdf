"""What goes wrong for a user when a role such as "@stages" names other layers than it says."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.domains.vision.models import resnet18, resnet20, small_cnn
from knowledge_distillation.errors import CaptureError, ConfigError
from knowledge_distillation.objective.layers import ROLES, find_role, in_place_of_roles
from tests.objective import preset_models
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
        with suppress(ConfigError):  # it has no attention, and no modules for its activations
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


def received(model: nn.Module, names: tuple[str, ...], inputs: Tensor) -> list[Tensor]:
    """What the modules behind "input:" names receive in their last call, the outputs of the others."""
    seen: dict[str, Tensor] = {}
    handles = []
    for name in names:
        module = model.get_submodule(name.removeprefix("input:"))
        if name.startswith("input:"):
            hook = module.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0].clone()}))
        else:
            hook = module.register_forward_hook(lambda _, __, given, name=name: seen.update({name: given.clone()}))
        handles.append(hook)
    with torch.no_grad():
        model.eval()(inputs)
    for handle in handles:
        handle.remove()
    return [seen[name] for name in names]


def test_preactivations_of_a_resnet_are_what_its_last_relus_receive() -> None:
    """Otherwise AB and OFD compare features in which every silent neuron looks alike."""
    model, images = resnet18(), torch.randn(2, 3, 64, 64)
    stages = find_role("@stages", model, (images,), "student")
    before = received(model, find_role("@preactivations", model, (images,), "student"), images)
    assert len(before) == len(stages)
    assert all(bool((features < 0).any()) for features in before)
    after = outputs(model, stages, images)
    for early, late in zip(before, after, strict=True):
        torch.testing.assert_close(early.relu(), late)


def test_a_stage_that_ends_linear_is_its_own_preactivation() -> None:
    """Otherwise a MobileNetV2 is asked for the activation inside its last block, of another width."""
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.ReLU6(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)),
    )
    assert find_role("@preactivations", model, IMAGES, "student") == ("0", "1")


def test_pooling_behind_the_activation_is_looked_through() -> None:
    """Otherwise networks in the manner of VGG have no preactivations."""
    model = small_cnn(width=4)
    names = find_role("@preactivations", model, (torch.zeros(2, 1, 28, 28),), "student")
    assert [type(model.get_submodule(name.removeprefix("input:"))) for name in names] == [nn.ReLU] * 3


class Functional(nn.Module):
    """An activation that no list of activation modules knows."""

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.relu(hidden)


def test_an_activation_that_is_no_module_is_named_with_its_harm() -> None:
    """Otherwise AB learns that every neuron of the teacher fires, or reads one in the middle of the block."""
    network = resnet20()
    network.layer1[2].act2 = Functional()
    with pytest.raises(ConfigError, match=r"activation at the end of the teacher's 'layer1\.2'.*torch\.relu"):
        find_role("@preactivations", network, IMAGES, "teacher")


def test_our_own_networks_have_preactivations() -> None:
    """Otherwise AB and OFD, which were published on them, cannot be tried on CIFAR."""
    assert len(find_role("@preactivations", resnet20(), IMAGES, "teacher")) == 3


class OneReLU(nn.Module):
    """Two stages through one and the same ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 3, 3, stride=2), nn.ReLU()) for _ in range(2))
        self.stages[1][1] = self.stages[0][1]

    def forward(self, images: Tensor) -> Tensor:
        return self.stages[1](self.stages[0](images))


def test_an_activation_that_is_shared_between_stages_is_refused() -> None:
    """Otherwise the first stage is read at the second."""
    with pytest.raises(ConfigError, match="called again in later stages"):
        find_role("@preactivations", OneReLU(), IMAGES, "student")


def test_attention_is_that_of_the_last_layer() -> None:
    """Otherwise MiniLM reads the first layer, or the cross-attention of another name."""
    model = preset_models.Encoder(8, 3, seed=1)
    names = tuple(f"layer.2.self.{part}" for part in ("query", "key", "value"))
    assert find_role("@attention", model, None, "teacher") == names


def test_packed_attention_is_refused_with_the_reason() -> None:
    """Otherwise the user of nn.TransformerEncoder looks for three layers that are not there."""
    with pytest.raises(ConfigError, match="MultiheadAttention, which packs the three into one matrix"):
        find_role("@attention", Encoder(), None, "student")
    with pytest.raises(ConfigError, match="none of its modules holds linear layers named as"):
        find_role("@attention", small_cnn(), None, "student")


def test_the_pooled_map_is_the_one_that_the_classifier_reads() -> None:
    """Otherwise small pictures, of which the last stage keeps one pixel, leave SimKD with a map of the wrong width."""
    small = (torch.zeros(2, 3, 32, 32),)
    assert find_role("@last", resnet18(), small, "teacher") == "layer3.1"
    assert find_role("@pooled", resnet18(), small, "teacher").startswith("layer4")
    assert find_role("@pooled", resnet20(), small, "teacher") == find_role("@last", resnet20(), small, "teacher")
    flat = (torch.zeros(2, 1, 28, 28),)
    assert find_role("@pooled", small_cnn(), flat, "teacher") == find_role("@last", small_cnn(), flat, "teacher")


def test_roles_among_several_names_are_spread_out() -> None:
    """Otherwise a term that reads maps and a weight keeps a role that no model knows."""
    assert in_place_of_roles(("@stages", "logits"), {"@stages": ("a", "b")}) == ("a", "b", "logits")
    assert in_place_of_roles("@stages", {"@stages": ("a", "b")}) == ("a", "b")
    assert find_role("@classifier", resnet20(), IMAGES, "student") == "weight:linear"
