"""What goes wrong for a user whose student lost the wrong channels, or only seems narrower."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation import students
from knowledge_distillation.errors import ConfigError, MissingExtraError
from tests.students.models import INPUTS, SmallResNet, answer, bert, disturbed, llama, vit

IMAGES = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)


def silenced(model: SmallResNet) -> SmallResNet:
    """The model with every odd channel of every convolution silent: what is narrowed by half can stay the same."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight[1::2] = 0
                if module.in_channels > 1:
                    module.weight[:, 1::2] = 0
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.bias, module.running_mean):
                    values[1::2] = 0
        model.head.weight[:, 1::2] = 0
    return model


def test_channels_that_do_nothing_go_first() -> None:
    """Otherwise a layer loses other channels than the layer that reads it, or the norms between keep theirs."""
    teacher = silenced(disturbed(SmallResNet()))
    student = students.narrow(teacher, IMAGES, 0.5)
    widths = [module.out_channels for module in student.modules() if isinstance(module, nn.Conv2d)]
    assert widths == [module.out_channels // 2 for module in teacher.modules() if isinstance(module, nn.Conv2d)]
    torch.testing.assert_close(answer(student, IMAGES), answer(teacher, IMAGES))
    assert float(answer(teacher, IMAGES).std()) > 1e-3


def test_heads_and_inner_channels_that_do_nothing_go_first() -> None:
    """Otherwise parts of different heads are mixed, and attention is computed over nonsense."""
    torch.manual_seed(0)
    teacher = bert(2, initializer_range=0.3)
    with torch.no_grad():
        for layer in teacher.bert.encoder.layer:
            attention, inner, outer = layer.attention, layer.intermediate.dense, layer.output.dense
            silent = torch.arange(16) // 4 % 2 == 1  # heads 1 and 3 of 4
            for part in (attention.self.query, attention.self.key, attention.self.value):
                part.weight[silent] = 0
                part.bias[silent] = 0
            attention.output.dense.weight[:, silent] = 0
            inner.weight[1::2] = 0
            inner.bias[1::2] = 0
            outer.weight[:, 1::2] = 0
        teacher.bert.pooler.dense.weight[1::2] = 0
        teacher.bert.pooler.dense.bias[1::2] = 0
    student = students.narrow(teacher, INPUTS["bert"], 0.5)
    attention = student.bert.encoder.layer[0].attention.self
    assert (attention.num_attention_heads, attention.query.out_features, attention.query.in_features) == (2, 8, 16)
    assert student.bert.encoder.layer[0].intermediate.dense.out_features == 12
    torch.testing.assert_close(answer(student, INPUTS["bert"]), answer(teacher, INPUTS["bert"]))


@pytest.mark.parametrize(
    ("make", "inputs"),
    [(SmallResNet, IMAGES), (bert, INPUTS["bert"]), (llama, INPUTS["llama"]), (vit, INPUTS["vit"])],
)
def test_a_narrow_student_takes_and_gives_what_its_teacher_does_and_learns(make: Any, inputs: Any) -> None:
    """Otherwise it fails at its first batch, has other classes, or shares its teacher's weights."""
    torch.manual_seed(0)
    teacher = make().eval()
    before = copy.deepcopy(teacher.state_dict())
    student = students.narrow(teacher, inputs, 0.5)
    assert not student.training
    assert sum(p.numel() for p in student.parameters()) < sum(p.numel() for p in teacher.parameters())
    assert answer(student, inputs).shape == answer(teacher, inputs).shape
    output = student.train()(**inputs) if isinstance(inputs, dict) else student.train()(inputs)
    (output if isinstance(output, torch.Tensor) else output["logits"]).square().mean().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in student.parameters() if p.requires_grad)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not {p.data_ptr() for p in student.parameters()} & {p.data_ptr() for p in teacher.parameters()}


def test_a_frozen_teacher_is_narrowed_too_and_its_student_stays_frozen() -> None:
    """Teachers are frozen as a rule; without gradients the layers' dependencies cannot be followed."""
    student = students.narrow(SmallResNet().requires_grad_(False), IMAGES, 0.5)
    assert student.stem.out_channels == 4
    assert not any(p.requires_grad for p in student.parameters())


def test_the_shapes_do_not_depend_on_the_weights() -> None:
    """Otherwise a run cannot be rebuilt from its recipe, since the teacher's weights need not be there."""
    shapes = set()
    for seed in range(3):
        torch.manual_seed(seed)
        student = students.narrow(SmallResNet(), torch.randn(2, 1, 8, 8), 0.3)
        shapes.add(tuple(tuple(value.shape) for value in student.state_dict().values()))
    assert len(shapes) == 1


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.13, 0.9, 0.99])
def test_every_layer_keeps_its_share_and_at_least_one_channel(ratio: float) -> None:
    """Otherwise a small share leaves the layers of few channels as wide as they were."""
    teacher = SmallResNet()
    student = students.narrow(teacher, IMAGES, ratio)
    widths = [module.out_channels for module in student.modules() if isinstance(module, nn.Conv2d)]
    before = [module.out_channels for module in teacher.modules() if isinstance(module, nn.Conv2d)]
    assert widths == [max(1, int(width * ratio)) for width in before]
    assert answer(student, IMAGES).shape == (2, 5)


def test_a_small_share_narrows_attention_and_inner_layers_to_one() -> None:
    """Otherwise the smallest student of a search over sizes is no student."""
    torch.manual_seed(0)
    student = students.narrow(bert(1), INPUTS["bert"], 0.02)
    layer = student.bert.encoder.layer[0]
    assert (layer.attention.self.num_attention_heads, layer.attention.self.query.out_features) == (1, 4)
    assert layer.intermediate.dense.out_features == 1


def test_only_named_layers_are_narrowed_and_ignored_ones_keep_their_width() -> None:
    """Otherwise a glob reaches further than it says."""
    teacher = SmallResNet()
    one = students.narrow(teacher, IMAGES, {"blocks.*.conv1": 0.25})
    assert [block.conv1.out_channels for block in one.blocks] == [2, 4, 4]
    assert (one.stem.out_channels, one.head.in_features) == (8, 16)
    rest = students.narrow(teacher, IMAGES, 0.5, ignored=["blocks.*.conv1"])
    assert [block.conv1.out_channels for block in rest.blocks] == [8, 16, 16]
    assert rest.stem.out_channels == 4


@pytest.mark.parametrize("ratio", [0, 1, 1.5, -0.5, True, "half", {"stem": 2.0}])
def test_a_ratio_that_is_no_share_is_refused(ratio: Any) -> None:
    """Otherwise 1.5 makes a student with no channels, or a wider one, deep inside another library."""
    with pytest.raises(ConfigError, match="between 0 and 1"):
        students.narrow(SmallResNet(), IMAGES, ratio)


def test_a_path_that_matches_nothing_names_the_nearest() -> None:
    """Otherwise a typing error leaves the layer at its width without a word."""
    with pytest.raises(ConfigError, match="'stem'"):
        students.narrow(SmallResNet(), IMAGES, {"stam": 0.5})
    with pytest.raises(ConfigError, match="'head'"):
        students.narrow(SmallResNet(), IMAGES, 0.5, ignored=["haed"])


def test_a_model_of_one_layer_cannot_be_narrowed() -> None:
    """Otherwise its classes go."""
    with pytest.raises(ConfigError, match="Nothing in Sequential could be narrowed"):
        students.narrow(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), IMAGES, 0.5)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a user without torch-pruning reads an ImportError from inside."""
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtraError, match=r"\[prune\]"):
        students.narrow(SmallResNet(), IMAGES, 0.5)
