"""What goes wrong when the teacher's forward is not cut, or leaves something behind when it is."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture import Taps, tap
from knowledge_distillation.errors import CaptureError
from tests.capture.models import Cnn, Shared, hooks_on

IMAGES = torch.randn(2, 3, 8, 8)


def counted(model: nn.Module) -> dict[str, int]:
    """Counts every module's executions by replacing its forward, which needs no hook."""
    runs: dict[str, int] = {}

    def count(name: str, module: nn.Module) -> None:
        forward = module.forward

        def run(*arguments: Any, **keywords: Any) -> Any:
            runs[name] = runs.get(name, 0) + 1
            return forward(*arguments, **keywords)

        module.forward = run

    for name, module in model.named_modules():
        if type(module) is not nn.ModuleList:
            count(name, module)
    return runs


def test_modules_after_the_last_tap_do_not_run() -> None:
    model = Cnn()
    expected = model.stages[0](model.stem(IMAGES))
    runs = counted(model)
    with torch.no_grad(), tap(model, ["stages.0", "stem"], until_last_tap=True) as taps:
        assert taps.run(model, IMAGES) is None
        torch.testing.assert_close(taps["stages.0"], expected)
    assert runs == {"": 1, "stem": 1, "stages.0": 1, "stages.0.0": 1, "stages.0.1": 1}


def test_every_forward_of_a_long_run_is_cut_alike() -> None:
    model = Cnn()
    runs = counted(model)
    taps = Taps(model, "stages.1", until_last_tap=True).attach()
    for _ in range(3):
        taps.run(model, IMAGES)
    assert len(taps.all("stages.1")) == 3
    assert runs["stages.1"] == 3
    assert "stages.2" not in runs
    taps.detach()


def test_a_tapped_input_stops_before_its_own_module_runs() -> None:
    model = Cnn()
    runs = counted(model)
    with tap(model, "stages.1", which="input", until_last_tap=True) as taps:
        taps.run(model, IMAGES)
    assert "stages.0" in runs
    assert "stages.1" not in runs


def test_a_module_called_several_times_is_waited_for_by_count() -> None:
    model, inputs = Shared(), torch.randn(2, 4)
    runs = counted(model)
    with tap(model, "block", until_last_tap=3) as taps:
        taps.run(model, inputs)
    assert len(taps.all("block")) == 3
    assert "head" not in runs


def test_the_model_called_plainly_is_never_cut() -> None:
    model = Cnn()
    with tap(model, "stem", until_last_tap=True) as taps:
        taps.run(model, IMAGES)
        assert model(IMAGES).shape == (2, 2)
    with tap(model, "stem") as taps:
        assert taps.run(model, IMAGES).shape == (2, 2)


def test_state_and_hooks_are_clean_after_a_stop_and_after_an_error() -> None:
    model = Cnn()
    with tap(model, "stem", until_last_tap=True) as taps:
        taps.run(model, IMAGES)
        assert torch.is_grad_enabled()
        with pytest.raises(RuntimeError, match="channels"):
            taps.run(model, torch.randn(2, 5, 8, 8))
        assert model(IMAGES).shape == (2, 2)
    assert hooks_on(model) == 0


def test_a_stop_keeps_no_activation_alive_through_its_traceback() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            local = inputs * 2
            alive.append(weakref.ref(local))
            return self.second(self.first(local))

    alive: list[weakref.ref[Tensor]] = []
    model = Remembers().requires_grad_(False)
    with tap(model, "first", until_last_tap=True) as taps:
        taps.run(model, torch.randn(1, 3))
        taps.clear()
    assert alive[0]() is None


def test_two_models_can_stop_each_other_no_more_than_themselves() -> None:
    outer, inner = Cnn(), Cnn()

    def both(images: Tensor) -> Tensor:
        outside(images)
        return outer(images)

    def outside(images: Tensor) -> None:
        inner_taps.run(inner, images)

    with (
        tap(outer, "stages.2", until_last_tap=True) as outer_taps,
        tap(inner, "stem", until_last_tap=True) as inner_taps,
    ):
        outer_taps.run(both, IMAGES)
        assert len(outer_taps.all("stages.2")) == len(inner_taps.all("stem")) == 1


def test_a_stop_passes_through_the_run_of_another_model() -> None:
    outer, inner = Cnn(), Cnn()
    with tap(outer, "stem", until_last_tap=True) as outer_taps, tap(inner, "stem", until_last_tap=True) as inner_taps:
        assert outer_taps.run(lambda: inner_taps.run(outer, IMAGES) or "swallowed") is None


def test_run_without_hooks_says_so() -> None:
    with pytest.raises(CaptureError, match="Call attach"):
        Taps(Cnn(), "stem", until_last_tap=True).run(Cnn(), IMAGES)
