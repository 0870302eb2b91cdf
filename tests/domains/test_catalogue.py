"""What goes wrong for a user when models and data sets are looked up by name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from torch import nn

from knowledge_distillation.domains.catalogue import build_data, build_model, data_sets, models
from knowledge_distillation.domains.vision.demo import PLANS, run_demo
from knowledge_distillation.errors import ConfigError

FACTS = {"classes": 7, "channels": 2, "size": 6}


def test_the_datas_facts_reach_the_model_and_settings_win() -> None:
    """Otherwise a student for 7 classes is built with 10 outputs."""
    model = build_model("image_mlp", FACTS, {"hidden": 9}, {})
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes == [(9, 72), (9,), (7, 9), (7,)]
    assert build_model("image_mlp", FACTS, {"classes": 3}, {})[-1].out_features == 3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_model("resnet19", {}, {}, {}), r"no model named 'resnet19'.*Did you mean 'resnet"),
        (lambda: build_data("digit", {}, {}), r"no data set named 'digit'.*Did you mean 'digits'"),
        (lambda: build_model("image_mlp", {}, {"hiden": 3}, {}), r"no setting 'hiden'.*Did you mean 'hidden'"),
        (lambda: build_data("digits", {"labeled": 3}, {}), r"no setting 'labeled'.*Did you mean 'labelled'"),
    ],
    ids=["model", "data set", "model setting", "data setting"],
)
def test_an_unknown_name_or_setting_shows_the_near_one(build: Any, message: str) -> None:
    """Otherwise a misspelt setting is a TypeError from a function the user never called."""
    with pytest.raises(ConfigError, match=message):
        build()


def test_a_users_own_names_are_known_and_win() -> None:
    """Otherwise users cannot name their own model in a recipe."""

    class Mine(nn.Module):
        def __init__(self, classes: int, width: int = 4, **rest: Any) -> None:
            super().__init__()
            self.seen = {"classes": classes, "width": width, **rest}

    assert build_model("mine", FACTS, {"width": 8}, {"mine": Mine}).seen == {**FACTS, "width": 8}
    assert isinstance(build_model("resnet18", FACTS, {}, {"resnet18": Mine}), Mine)


def test_every_entry_can_be_described_and_asked_for_its_settings() -> None:
    """Otherwise `kd list` shows empty lines, or a setting cannot be checked."""
    for entries in (models(), data_sets()):
        assert entries
        for name, make in entries.items():
            assert (inspect.getdoc(make) or "").strip(), name
            assert inspect.signature(make).parameters, name


def test_an_unknown_demo_shows_the_near_one(tmp_path: Any) -> None:
    """Otherwise the user must read the code to find the two names."""
    with pytest.raises(ConfigError, match=r"no demo of 'fashion'.*Did you mean 'fashion_mnist'"):
        run_demo("fashion", directory=tmp_path / "demo")
    assert set(PLANS) <= set(data_sets())


def test_a_demo_with_one_seed_is_refused_before_anything_is_trained(tmp_path: Any) -> None:
    """Otherwise the teacher is trained first, and then the user learns that one seed is too few."""
    stages: list[str] = []
    with pytest.raises(ConfigError, match="at least 2"):
        run_demo(directory=tmp_path / "demo", seeds=1, quick=True, progress=stages.append)
    assert stages == []
    assert not (tmp_path / "demo").exists()


def test_a_demo_never_writes_into_a_folder_in_use(tmp_path: Any) -> None:
    """Otherwise `--directory .` fills the user's own folder."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        run_demo(directory=tmp_path, quick=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
