"""What goes wrong when the table of a model lies, or looking at a model changes it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture import describe, tap
from tests.capture.models import Cnn, Encoder, Shared, hooks_on, written

IMAGES = torch.randn(2, 3, 8, 8)


class Restless(nn.Module):
    """Draws random numbers and keeps batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.drop(self.norm(inputs + torch.randn_like(inputs)))


def test_every_point_of_the_table_can_be_tapped_and_has_that_shape() -> None:
    model = Cnn()
    found = describe(model, IMAGES, show=False)
    with tap(model, [point.path for point in found]) as taps:
        model(IMAGES)
    assert {point.path: point.shape for point in found} == {name: tuple(taps[name].shape) for name in taps.names}
    assert [point.path for point in found][:4] == ["stem", "stages.0.0", "stages.0.1", "stages.0"]
    assert "stages" not in {point.path for point in found}


def test_the_table_is_printed_unless_asked_not_to(capsys: pytest.CaptureFixture[str]) -> None:
    found = describe(Cnn(), IMAGES)
    printed = capsys.readouterr().out
    assert printed == f"{found}\n"
    (line,) = [line for line in printed.splitlines() if line.startswith("stem")]
    assert line.split() == ["stem", "Conv2d", "1", "[2,", "4,", "8,", "8]", "112"]
    describe(Cnn(), IMAGES, show=False)
    assert capsys.readouterr().out == ""


def test_elements_of_containers_are_listed_with_their_brackets() -> None:
    (point,) = [point for point in describe(Encoder("dict"), torch.randn(2, 4), show=False) if point.path == "layer"]
    assert point.outputs == "[loss] []; [last_hidden_state] [2, 4]; [attentions][0] [2, 4]; [attentions][1] [2, 4]"
    assert point.shape == (2, 4)


def test_repeated_calls_are_counted() -> None:
    (point,) = [point for point in describe(Shared(), torch.randn(2, 4), show=False) if point.path == "block"]
    assert point.calls == 3
    assert point.parameters == 20


def test_looking_changes_neither_modes_nor_statistics_nor_random_state() -> None:
    model = nn.Sequential(Restless(), Restless().eval())
    before, state, modes = written(model), torch.get_rng_state(), [module.training for module in model.modules()]
    values = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    describe(model, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), show=False)
    assert written(model) == before
    assert hooks_on(model) == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(values[name], tensor) for name, tensor in model.state_dict().items())


def test_a_model_that_raises_is_left_clean() -> None:
    model = Cnn()
    with pytest.raises(RuntimeError, match="channels"):
        describe(model, torch.randn(2, 5, 8, 8))
    assert hooks_on(model) == 0
    assert model.training


def test_the_fused_transformer_does_not_hide_its_layers() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = describe(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(2, 3, 8), show=False)
    assert {"layers.0.linear1", "layers.1.norm2"} <= {point.path for point in found}


@pytest.mark.parametrize("example", [(IMAGES, torch.tensor([0, 1])), [IMAGES, torch.tensor([0, 1])], (IMAGES,)])
def test_a_batch_of_a_data_loader_may_bring_its_labels(example: object) -> None:
    assert describe(Cnn(), example, show=False)[-1].shape == (2, 2)


def test_a_keyword_batch_may_bring_what_the_model_does_not_take() -> None:
    batch = {"hidden_states": torch.randn(2, 4), "labels": torch.tensor([0, 1])}
    assert describe(Encoder("tuple").layer, batch, show=False)[-1].shape == (2, 4)
