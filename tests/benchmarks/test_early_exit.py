"""What goes wrong for a reader of the results when layers are left out, or a setting of torch stays changed."""

from __future__ import annotations

import torch

from tests.benchmarks.asked import run


def test_it_gives_the_worst_of_all_layers() -> None:
    """Otherwise a layer that costs more than it ought to hides behind the others."""
    fused = torch.backends.mha.get_fastpath_enabled()
    found = run(
        "early_exit",
        *("--rounds", "1", "--pairs", "1", "--layers", "3", "--width", "16", "--length", "4"),
        *("--depth", "8", "--images", "2", "--sequences", "1"),
    )
    by_layer = {name: teacher["ratio_by_layer"] for name, teacher in found["teachers"].items()}
    assert list(by_layer["transformer"]) == ["0", "1", "2"]
    assert list(by_layer["cifar_resnet"]) == ["layer1.0", "layer2.0", "layer3.0"]
    assert found["ratio"] == max(max(ratios.values()) for ratios in by_layer.values())
    assert list(found["teachers"]["transformer"]["share_by_layer"].values()) == [0.3333, 0.6667, 1.0]
    assert torch.backends.mha.get_fastpath_enabled() == fused
