"""What goes wrong for a user who names a model of timm or torchvision in a recipe."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from knowledge_distillation.domains.catalogue import build_model
from knowledge_distillation.errors import CheckpointError, ConfigError

FACTS = {"classes": 7, "channels": 1, "size": 32}


@pytest.mark.parametrize(
    ("library", "model"),
    [
        ("timm", "resnet10t"),
        ("timm", "vit_tiny_patch16_224"),
        ("torchvision", "mobilenet_v3_small"),
        ("torchvision", "squeezenet1_1"),
    ],
)
def test_a_named_model_takes_the_datas_images_and_classes(library: str, model: str) -> None:
    """Otherwise a recipe with grey or small images, or other classes than ImageNet's, fails in the first batch."""
    built = build_model(library, FACTS, {"model": model}, {}).eval()
    with torch.no_grad():
        assert built(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("library", "written", "meant"),
    [("timm", "resnet_18", "resnet18"), ("torchvision", "mobilnet_v3_small", "mobilenet_v3_small")],
)
def test_an_unknown_name_shows_the_nearest_ones(library: str, written: str, meant: str) -> None:
    """Otherwise the user searches a list of a thousand names."""
    with pytest.raises(ConfigError, match=rf"no (?:model|classifier) named '{written}'.*{meant}"):
        build_model(library, FACTS, {"model": written}, {})


def test_torchvisions_detectors_are_no_classifiers() -> None:
    """Otherwise a detector's name builds a model that the classification adapter cannot call."""
    with pytest.raises(ConfigError, match="no classifier named 'retinanet_resnet50_fpn'"):
        build_model("torchvision", FACTS, {"model": "retinanet_resnet50_fpn"}, {})


@pytest.mark.parametrize(("library", "model"), [("timm", "resnet10t"), ("torchvision", "mobilenet_v3_small")])
def test_local_weights_fill_all_but_a_classifier_of_other_size(
    library: str, model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a fine-tuned student starts from random layers, or the old classes are taken for the new ones."""
    source = build_model(library, {"classes": 5, "channels": 3}, {"model": model}, {})
    file = tmp_path / "weights.safetensors"
    save_file({name: value.clone() for name, value in source.state_dict().items()}, file)
    with caplog.at_level(logging.WARNING):
        built = build_model(library, {"classes": 7, "channels": 3}, {"model": model, "pretrained": str(file)}, {})
    theirs, ours = source.state_dict(), built.state_dict()
    other = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert 1 <= len(other) <= 2
    assert all(torch.equal(ours[name], theirs[name]) for name in set(ours) - other)
    if library == "torchvision":
        assert "untrained stay classifier.3.weight, classifier.3.bias" in caplog.text


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_of_another_model_are_refused(library: str, tmp_path: Path) -> None:
    """Otherwise a model that is called pretrained is random."""
    file = tmp_path / "weights.safetensors"
    save_file({"other.weight": torch.zeros(2)}, file)
    settings = {"model": "resnet18", "pretrained": str(file)}
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        build_model(library, {"classes": 5, "channels": 3}, settings, {})
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        build_model(library, {"classes": 5}, {**settings, "pretrained": str(tmp_path / "gone.safetensors")}, {})
