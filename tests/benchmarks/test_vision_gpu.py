"""What goes wrong on a machine without a GPU, and on the first with one."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks.asked import run

TINY = ("--device", "cpu", "--size", "32", "--batch", "2", "--steps", "1", "--rounds", "1", "--speed", "off")


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise figures of a processor pass for those of a GPU, or all other benchmarks end with this one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run("vision_gpu") == {"skipped": "no CUDA device"}


@pytest.mark.slow
def test_it_gives_its_keys() -> None:
    """Otherwise the first who has a GPU finds that the code never ran."""
    pytest.importorskip("torchvision")
    found = run("vision_gpu", *TINY)
    assert found["online_ratio_to_original"] > 0
    assert found["cached_ratio_to_labels_only"] > 0
    assert set(found["images_a_second"]) == {"original", "online", "cached", "labels_only"}
