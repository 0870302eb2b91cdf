"""What goes wrong for a user when the reader mixes up taps, adapters and what a term wants."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import auto
from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.errors import CaptureError, ConfigError
from knowledge_distillation.signals import Signals
from tests.training.toys import hooks_on, mlp

INPUTS = torch.linspace(-1, 1, 20).reshape(4, 5)


def test_a_reader_gives_logits_and_the_named_layer_with_graph() -> None:
    """Otherwise a feature term compares the wrong layer, or trains nothing."""
    model = mlp()
    reader = Reader(model, auto, wanted=("hidden", "logits"))
    reader.attach()
    signals = reader.read(INPUTS)
    reader.detach()
    torch.testing.assert_close(signals.features["hidden"], model.hidden(INPUTS))
    torch.testing.assert_close(signals.logits, model(INPUTS))
    signals.features["hidden"].sum().backward()
    assert model.hidden.weight.grad is not None
    assert model.head.weight.grad is None


def test_nothing_stays_on_the_model_after_detach() -> None:
    """Otherwise the exported student still runs our hooks."""
    model = mlp()
    reader = Reader(model, auto, wanted=("hidden",))
    reader.attach()
    assert hooks_on(model) > 0
    reader.detach()
    assert hooks_on(model) == 0


def test_a_reader_without_paths_puts_no_hook_on_the_model() -> None:
    """Otherwise plain logit distillation pays for hooks it does not need."""
    model = mlp()
    reader = Reader(model, auto, wanted=("logits",))
    reader.attach()
    assert hooks_on(model) == 0
    torch.testing.assert_close(reader.read(INPUTS).logits, model(INPUTS))


def test_features_named_by_the_adapter_need_no_module_of_that_name() -> None:
    """Otherwise a user's adapter cannot give signals of its own."""

    def adapter(model: nn.Module, batch: Tensor, temperature: float) -> Signals:
        return Signals(logits=model(batch), features={"mine": batch * temperature})

    signals = Reader(mlp(), adapter, temperature=2.0, wanted=("mine",)).read(INPUTS)
    torch.testing.assert_close(signals.features["mine"], 2 * INPUTS)


def test_a_misspelt_layer_is_refused_with_the_near_ones_and_whose_it_is() -> None:
    """Otherwise the term silently compares nothing, or the message leaves the side open."""
    reader = Reader(mlp(), auto, wanted=("hiden",), whose="teacher")
    reader.attach()
    with pytest.raises(CaptureError, match=r"teacher's 'hiden'.*Did you mean 'hidden'"):
        reader.read(INPUTS)


def test_early_stop_skips_later_modules_only_when_nothing_else_is_wanted() -> None:
    """Otherwise hint training pays for the whole teacher, or a logit term finds no logits."""
    for wanted, expected in ((("hidden",), 0), (("hidden", "logits"), 1)):
        calls: list[Any] = []
        model = mlp()
        model.head.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        reader = Reader(model, auto, wanted=wanted, stop_early=True)
        reader.attach()
        signals = reader.read(INPUTS)
        reader.detach()
        torch.testing.assert_close(signals.features["hidden"], model.hidden(INPUTS))
        assert len(calls) == expected
        assert (signals.logits is not None) == bool(expected)


def test_an_absent_signal_names_the_side_and_what_there_is() -> None:
    """Otherwise the user cannot tell which model lacks which output."""
    signals = Signals(logits=INPUTS, features={"layer1": INPUTS})
    assert signals.named("logits", whose="student") is INPUTS
    assert signals.named("layer1", whose="student") is INPUTS
    with pytest.raises(ConfigError, match=r"student gave no signal named 'layer2'.*Did you mean 'layer1'.*logits"):
        signals.named("layer2", whose="student")
    with pytest.raises(ConfigError, match="teacher gave no signal named 'log_probs'"):
        signals.named("log_probs", whose="teacher")
