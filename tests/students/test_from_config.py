"""What goes wrong for a user who names a model of another library."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from knowledge_distillation import students
from knowledge_distillation.errors import ConfigError, MissingExtraError
from tests.students.models import TOKENS, answer


def test_models_of_three_libraries_have_the_datas_classes_and_channels() -> None:
    """Otherwise the student has a thousand classes where the data has four."""
    images = torch.randn(2, 1, 32, 32)
    timm = students.from_config("timm", "resnet10t", classes=4, channels=1)
    assert answer(timm, images).shape == (2, 4)
    vision = students.from_config("torchvision", "squeezenet1_1", classes=4)
    assert answer(vision, torch.randn(2, 3, 64, 64)).shape == (2, 4)
    tiny = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = students.from_config(
        "transformers", "BertForSequenceClassification", classes=4, settings={**tiny, "intermediate_size": 16}
    )
    assert answer(text, {"input_ids": TOKENS}).shape == (2, 4)


@pytest.mark.parametrize(
    ("library", "model", "settings", "message"),
    [
        ("tim", "resnet18", {}, "'timm'"),
        ("timm", "resnet_18", {}, "timm has no model named 'resnet_18'.*resnet18"),
        ("torchvision", "resnet_18", {}, "torchvision has no model.*resnet18"),
        ("transformers", "BertForSequenceClasification", {}, "BertForSequenceClassification"),
        ("transformers", "AutoModel", {}, "no model class 'AutoModel'"),
        ("timm", "resnet10t", {"pretrained": True}, "untrained"),
        ("torchvision", "resnet18", {"weights": "DEFAULT"}, "untrained"),
        ("transformers", "BertModel", {"trust_remote_code": True}, "untrained"),
        ("timm", "resnet10t", {"no_such": 1}, "cannot be made"),
    ],
)
def test_what_cannot_be_made_is_refused(library: str, model: str, settings: dict[str, Any], message: str) -> None:
    """Otherwise a recipe downloads weights, runs code from a hub, or ends in a traceback of another library."""
    with pytest.raises(ConfigError, match=message):
        students.from_config(library, model, settings=settings)


def test_channels_that_torchvision_does_not_take_are_refused() -> None:
    """Otherwise the first batch of grey images fails inside a convolution."""
    with pytest.raises(ConfigError, match="3 channels, and the data has 1"):
        students.from_config("torchvision", "resnet18", channels=1)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a user without timm reads an ImportError."""
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"\[vision\]"):
        students.from_config("timm", "resnet18")
