"""What goes wrong for a reader of the results when the losses that are timed are not those that are compared."""

from __future__ import annotations

import os

import pytest
import torch

from benchmarks.language.arms import LIGER, ON_PROCESSOR, Shape, make_inputs, step
from benchmarks.language.peak import peak_on_processor
from tests.benchmarks.asked import run

SHAPES = [Shape(items=6, classes=40), Shape(items=6, classes=40, student_width=4, teacher_width=5)]


@pytest.mark.parametrize("shape", SHAPES, ids=["logits", "linear"])
@pytest.mark.parametrize("arm", [name for name in ON_PROCESSOR if "compile" not in name])
def test_every_arm_computes_the_same_loss(arm: str, shape: Shape) -> None:
    """Otherwise a peer, or this toolkit, is fast at something else."""
    found, expected = make_inputs(shape), make_inputs(shape)
    step(ON_PROCESSOR[arm], found)
    step(ON_PROCESSOR["eager"], expected)
    for one, other in zip(found.leaves, expected.leaves, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("arm", LIGER)
def test_ligers_arms_compute_the_same_loss(arm: str) -> None:
    """Otherwise the strongest peer is timed at another loss. Without a GPU, in Triton's interpreter, if at all."""
    pytest.importorskip("liger_kernel")
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("neither a GPU nor Triton's interpreter (TRITON_INTERPRET=1)")
    found, expected = make_inputs(SHAPES[1], device), make_inputs(SHAPES[1], device)
    step(LIGER[arm], found)
    step(ON_PROCESSOR["eager"], expected)
    for one, other in zip(found.leaves, expected.leaves, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_it_gives_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the results page lacks figures, which nobody notices until they are asked for."""
    eager = ON_PROCESSOR["eager"]
    monkeypatch.setitem(ON_PROCESSOR, "torch.compile of eager", eager)  # compiling takes longer than all else here
    monkeypatch.setattr("benchmarks.lm_loss.peak_on_processor", lambda arm, shape: 1000)
    found = run(
        "lm_loss", "--device", "cpu", "--items", "4", "--classes", "32", "--rounds", "1", "--linear-rounds", "1"
    )
    assert found["time_ratio_to_eager"] > 0
    assert found["memory_ratio_to_eager"] == 1
    assert {row["variant"] for row in found["rows"]} == set(ON_PROCESSOR)
    assert found["left_out"].keys() == LIGER.keys()
    assert all("GPU" in reason for reason in found["left_out"].values())
    assert found["gradient_error"]["ours"] < found["gradient_error"]["rounded_logits"] / 5


def test_the_peak_of_memory_is_seen() -> None:
    """Otherwise every variant needs nothing."""
    peak = peak_on_processor("eager", Shape(items=64, classes=20_000))
    if peak is None:
        pytest.skip("this system does not tell the peak of resident memory")
    assert 3 * 64 * 20_000 * 4 < peak < 12 * 64 * 20_000 * 4
