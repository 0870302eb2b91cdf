"""What goes wrong for a user when taps misread, leak, or stay on the model."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture import Taps, tap
from knowledge_distillation.errors import CaptureError, ConfigError
from tests.capture.models import Cnn, Encoder, InPlace, Shared, hooks_on, written

IMAGES = torch.randn(2, 3, 8, 8)


def test_a_tap_reads_what_the_submodule_computes_when_run_by_hand() -> None:
    model = Cnn()
    with tap(model, ["stem", "stages.1", "stages.2.0"]) as taps:
        model(IMAGES)
    stem = model.stem(IMAGES)
    second = model.stages[1](model.stages[0](stem))
    torch.testing.assert_close(taps["stem"], stem)
    torch.testing.assert_close(taps["stages.1"], second)
    torch.testing.assert_close(taps["stages.2.0"], model.stages[2][0](second))


def test_a_tap_on_the_input_reads_what_the_module_receives() -> None:
    model = Cnn()
    with tap(model, ["stages.1", ""], which="input") as taps:
        model(IMAGES)
    torch.testing.assert_close(taps["stages.1"], model.stages[0](model.stem(IMAGES)))
    assert taps[""] is IMAGES


def test_gradient_flows_through_a_tapped_feature_into_the_student() -> None:
    model = Cnn()
    with tap(model, "stages.0") as taps:
        model(IMAGES)
        taps["stages.0"].square().mean().backward()
    assert model.stem.weight.grad is not None
    assert model.head.weight.grad is None


def test_nothing_stays_on_the_model_after_the_block() -> None:
    model = Cnn()
    before = written(model)
    with tap(model, ["**"], keep="forward") as taps:
        assert hooks_on(model) > len(taps) > 5
        model(IMAGES)
    assert hooks_on(model) == 0
    assert written(model) == before


@pytest.mark.parametrize("which", ["output", "input"])
def test_hooks_go_when_the_model_raises(which: str) -> None:
    model = Cnn()
    with pytest.raises(RuntimeError, match="channels"), tap(model, ["stem", "stages.0"], which=which) as taps:  # type: ignore[arg-type]
        model(torch.randn(2, 5, 8, 8))
    assert hooks_on(model) == 0
    assert not taps.all("stem")


def test_no_activation_survives_take() -> None:
    model = Cnn()
    taps = Taps(model, ["stem", "stages.*"]).attach()
    for _ in range(2):
        model(IMAGES)
        kept = [weakref.ref(feature) for feature in taps.take().values()]
        gc.collect()
        assert [reference() for reference in kept] == [None] * 4
    taps.detach()
    assert hooks_on(model) == 0


def test_take_lets_go_even_if_a_tap_never_fired() -> None:
    model = nn.ModuleDict({"used": nn.Linear(3, 3), "idle": nn.Linear(3, 3)})
    taps = Taps(model, ["used", "idle"]).attach()
    feature = weakref.ref(model["used"](torch.randn(1, 3)))
    with pytest.raises(CaptureError, match=r"'idle' must fire.*hold something: used.*torch.compile.*describe"):
        taps.take()
    assert feature() is None


def test_a_validation_that_never_takes_holds_one_forward_only() -> None:
    model = Shared()
    taps = Taps(model, "block", keep="forward").attach()
    for _ in range(5):
        model(torch.randn(2, 4))
        assert len(taps.all("block")) == 3
    taps.detach()


def test_a_module_called_several_times_keeps_every_call_in_order() -> None:
    model, inputs = Shared(), torch.randn(2, 4)
    with tap(model, "block") as taps:
        model(inputs)
        model(inputs + 1)
    expected: list[Tensor] = []
    for value in (inputs, inputs + 1):
        for _ in range(3):
            expected.append(model.block(value))
            value = expected[-1].tanh()
    assert len(taps.all("block")) == 6
    for read, wanted in zip(taps.all("block"), expected, strict=True):
        torch.testing.assert_close(read, wanted)
    assert taps["block"] is taps.all("block")[-1]


def test_a_shared_module_is_found_under_each_of_its_names() -> None:
    block = nn.Linear(3, 3)
    model = nn.Sequential(OrderedNames.of(one=block, two=block))
    with tap(model, ["0.one", "0.two"]) as taps:
        model(torch.randn(2, 3))
    assert len(taps.all("0.one")) == len(taps.all("0.two")) == 2


class OrderedNames(nn.Sequential):
    @classmethod
    def of(cls, **modules: nn.Module) -> OrderedNames:
        made = cls()
        for name, module in modules.items():
            made.add_module(name, module)
        return made


def test_a_feature_changed_in_place_is_never_handed_out_silently() -> None:
    model, inputs = InPlace().eval(), torch.tensor([[-1.0, 1.0, -2.0, 2.0]])
    with tap(model, ["norm", "relu"]) as taps:
        model(inputs)
    torch.testing.assert_close(taps["relu"], model.norm(inputs).relu())
    with pytest.raises(CaptureError, match=r"'norm' was changed in place.*clone=True"):
        taps["norm"]
    with tap(model, "norm", clone=True) as taps:
        model(inputs)
    torch.testing.assert_close(taps["norm"], model.norm(inputs))
    with tap(model, "norm") as taps, torch.inference_mode():
        model(inputs)
    assert (taps["norm"] < 0).any()


@pytest.mark.parametrize(
    ("kind", "element", "factor"),
    [
        *[("tuple", "", 1), ("tuple", "[0]", 1), ("tuple", "[1]", 2), ("tuple", "[-1]", 3), ("tuple", "[2][0]", 3)],
        *[("dict", "", 1), ("dict", "[attentions]", 2), ("dict", "[attentions][1]", 3), ("dict", "[1]", 1)],
    ],
)
def test_an_element_of_a_container_is_chosen_by_the_rule(kind: str, element: str, factor: int) -> None:
    model, inputs = Encoder(kind), torch.randn(2, 4)
    with tap(model, f"layer{element}") as taps:
        model(inputs)
    torch.testing.assert_close(taps[f"layer{element}"], model.layer.linear(inputs) * factor)


def test_keyword_inputs_are_read_by_name() -> None:
    model, inputs = Encoder("dict"), torch.randn(2, 4)
    with tap(model, ["layer", "layer[bias]"], which="input") as taps:
        model(inputs)
    assert taps["layer"] is inputs
    assert taps["layer[bias]"].shape == (2, 2)


def test_a_missing_element_names_what_is_there() -> None:
    model = Encoder("dict")
    told = r"'layer\[hidden\]' has no element.*last_hidden_state"
    with pytest.raises(CaptureError, match=told), tap(model, "layer[hidden]"):
        model(torch.randn(2, 4))
    assert hooks_on(model) == 0


def test_a_copy_or_pickle_of_a_tapped_model_neither_records_nor_carries_activations() -> None:
    model = Cnn()
    with tap(model, ["stem"]) as taps:
        model(IMAGES)
        size = len(pickle.dumps(model))
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            twin(IMAGES)
        assert len(taps.all("stem")) == 1
    assert size < len(pickle.dumps(model)) + 1000


def test_a_replica_that_shares_the_hooks_does_not_record() -> None:
    model = Cnn()
    with tap(model, "stages.0.1") as taps:
        model.stages[0][1]._replicate_for_data_parallel()(IMAGES)
        assert taps.all("stages.0.1") == []


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="which must be"):
        tap(Cnn(), "stem", which="outputs")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="keep must be"):
        tap(Cnn(), "stem", keep="last")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="until_last_tap"):
        tap(Cnn(), "stem", until_last_tap=-1)
    with pytest.raises(CaptureError, match=r"no tap named 'stm'.*'stem'"):
        tap(Cnn(), "stem")["stm"]
