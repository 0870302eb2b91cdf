"""What goes wrong for a user whose model is of one of the usual families and is cut in the wrong place."""

from __future__ import annotations

import re

import pytest
import torch
from torchvision.models.resnet import BasicBlock, ResNet

from knowledge_distillation import students
from knowledge_distillation.errors import ConfigError
from tests.students.models import INPUTS, MAKERS, STACKS, TOKENS, answer, llama


@pytest.mark.parametrize("family", MAKERS)
def test_the_student_is_the_model_that_its_library_makes_with_fewer_layers(family: str) -> None:
    """Otherwise positions, norms or heads begin at random, or the layers are others than the rule says."""
    torch.manual_seed(0)
    teacher, kept = MAKERS[family](), [0, 1, 3]
    stack = STACKS[family]
    student = students.keep_layers(teacher, 3, kept, stack=stack)
    state = {}
    for name, value in teacher.state_dict().items():
        inside = re.match(rf"({re.escape(stack)}\.)(encoder_layer_)?(\d+)(\..*)", name)
        if inside is None:
            state[name] = value
        elif int(inside[3]) in kept:
            state[f"{inside[1]}{inside[2] or ''}{kept.index(int(inside[3]))}{inside[4]}"] = value
    reference = MAKERS[family](3)
    if family == "whisper":  # of its two sides only the encoder is cut
        reference.model.decoder = MAKERS[family](4).model.decoder
    if family == "vit":  # torchvision names its layers, and a student keeps their names
        state = {name.replace("encoder_layer_3", "encoder_layer_2"): value for name, value in state.items()}
    reference.load_state_dict(state)
    expected = answer(reference, INPUTS[family])
    torch.testing.assert_close(answer(student, INPUTS[family]), expected, rtol=0, atol=0)
    assert not torch.allclose(answer(teacher, INPUTS[family]), expected)


def test_a_cut_resnet_is_the_smaller_resnet() -> None:
    """Otherwise a block that changes the width is lost, and the next one does not fit."""
    torch.manual_seed(0)
    teacher = ResNet(BasicBlock, [3, 2, 1, 1], num_classes=4, width_per_group=64).eval()
    student = students.keep_layers(teacher, 5, [0, 2, 3, 5, 6])
    state = {
        name.replace("layer1.2", "layer1.1"): value
        for name, value in teacher.state_dict().items()
        if not name.startswith(("layer1.1", "layer2.1"))
    }
    reference = ResNet(BasicBlock, [2, 1, 1, 1], num_classes=4).eval()
    reference.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(answer(student, images), answer(reference, images), rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"layer2\.0.*change the width"):
        students.keep_layers(teacher, 4, [0, 1, 2, 5])


def test_a_cut_decoder_generates_what_it_computes_without_a_cache() -> None:
    """Otherwise layers that keep their old numbers write past the end of the key-value cache, or into each other's."""
    torch.manual_seed(0)
    student = students.keep_layers(llama(), 2, [1, 3])
    whole = student.generate(TOKENS[:, :4], max_new_tokens=6, do_sample=False, use_cache=False)
    cached = student.generate(TOKENS[:, :4], max_new_tokens=6, do_sample=False, use_cache=True)
    assert torch.equal(whole, cached)


def test_both_sides_of_an_encoder_decoder_are_cut_only_where_both_are_named() -> None:
    """Otherwise the decoder of a speech model is cut where its encoder was meant."""
    teacher = MAKERS["whisper"]()
    with pytest.raises(ConfigError, match=r"2 stacks of 4 layers.*model\.decoder\.layers"):
        students.keep_layers(teacher, 2)
    both = students.keep_layers(teacher, 2, stack=["model.encoder.layers", "model.decoder.layers"])
    assert (both.config.encoder_layers, both.config.decoder_layers) == (2, 2)
    assert answer(both, INPUTS["whisper"]).shape == (2, 12, 50)


@pytest.mark.parametrize("family", ["bert", "llama", "wav2vec2", "whisper"])
def test_a_cut_model_can_be_saved_and_loaded_by_its_library(family: str, tmp_path) -> None:
    """Otherwise from_pretrained builds all layers of the teacher and fills the missing ones at random."""
    torch.manual_seed(0)
    student = students.keep_layers(MAKERS[family](), 2, [0, 2], stack=STACKS[family])
    student.save_pretrained(tmp_path)
    again = type(student).from_pretrained(tmp_path)
    torch.testing.assert_close(answer(again, INPUTS[family]), answer(student, INPUTS[family]))
