"""What goes wrong when a path finds the wrong module, or none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from knowledge_distillation.capture import tap
from knowledge_distillation.capture.paths import modules_by_path, resolve
from knowledge_distillation.capture.selectors import parse
from knowledge_distillation.errors import CaptureError
from tests.capture.models import Cnn


def names(model: nn.Module, *paths: str) -> list[str]:
    return [place.name for place in resolve(model, paths)]


def test_globs_stay_within_a_name_and_double_stars_cross_dots() -> None:
    model = Cnn()
    assert names(model, "stages.*") == ["stages.0", "stages.1", "stages.2"]
    assert names(model, "stages.?.1") == ["stages.0.1", "stages.1.1", "stages.2.1"]
    assert names(model, "**.0") == ["stages.0", "stages.0.0", "stages.1.0", "stages.2.0"]
    assert names(nn.Sequential(model), "**.stem") == ["0.stem"]
    assert names(model, "**.stem") == ["stem"]
    assert names(model, "st*") == ["stem"]
    assert names(model, "stages.*[0]") == ["stages.0[0]", "stages.1[0]", "stages.2[0]"]


def test_brackets_never_match_another_layer_by_accident() -> None:
    model = nn.Sequential(*[nn.Identity() for _ in range(32)])
    (place,) = resolve(model, ["3[1]"])
    assert place.module is model[3]
    assert place.selector == (1,)


@pytest.mark.parametrize("text", ["a[", "a[]", "a[1].b", "a]1["])
def test_broken_brackets_are_refused(text: str) -> None:
    with pytest.raises(CaptureError, match="at its end"):
        parse(text)


def test_selectors_are_indices_or_keys() -> None:
    assert parse("encoder.layer.3[attentions][-1]") == ("encoder.layer.3", ("attentions", -1))
    assert parse("") == ("", ())


def test_a_path_that_matches_nothing_shows_the_nearest_ones() -> None:
    with pytest.raises(CaptureError, match=r"'stages.3' must name a module of Cnn.*Did you mean .*'stages\.2'"):
        tap(Cnn(), ["stages.3"])
    with pytest.raises(CaptureError, match=r"'stages\.9\.\*' must name a module"):
        tap(Cnn(), ["stages.9.*"])
    with pytest.raises(CaptureError, match="At least one path"):
        tap(Cnn(), [])


def test_a_container_that_is_never_called_is_refused_before_the_run() -> None:
    with pytest.raises(CaptureError, match=r"'stages' is a ModuleList.*Tap what it holds: stages\.0, stages\.1"):
        tap(Cnn(), ["stages"])


def test_wrapper_prefixes_may_be_written_or_left_out() -> None:
    model = Cnn()
    compiled = torch.compile(model, backend="eager")
    parallel = nn.DataParallel(model)
    for wrapped in (model, compiled, parallel, nn.DataParallel(compiled)):
        for path in ("stages.1", "module.stages.1", "_orig_mod.stages.1", "module._orig_mod.stages.1"):
            (place,) = resolve(wrapped, [path])
            assert place.module is model.stages[1]
            assert place.name == path
        assert "stages.1" in modules_by_path(wrapped)


def test_a_child_that_is_really_called_module_keeps_its_name() -> None:
    model = nn.ModuleDict({"module": nn.Sequential(nn.Identity()), "0": nn.Identity()})
    (place,) = resolve(model, ["module.0"])
    assert place.module is not model["0"]
    (outer,) = resolve(nn.DataParallel(model), ["module.module.0"])
    assert outer.module is place.module


def test_a_wrapped_block_is_tapped_outside_its_wrapper() -> None:
    model = Cnn()
    block = model.stages[1]
    model.stages[1] = torch.compile(block, backend="eager")
    (place,) = resolve(model, ["stages.1"])
    assert place.module is model.stages[1]
    assert place.module is not block
    (inner,) = resolve(model, ["stages.1.0"])
    assert inner.module is block[0]
    with torch.no_grad(), tap(model, "stages.1") as taps:
        model(torch.randn(1, 3, 8, 8))
    assert len(taps.all("stages.1")) == 1
