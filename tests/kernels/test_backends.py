"""What goes wrong for a user when the fast way and the plain way to compute a loss disagree."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from knowledge_distillation.errors import ConfigError, MissingExtraError
from knowledge_distillation.losses import fused_divergence
from tests.kernels.setting import Head, Setting, hold_in_float32
from tests.processes import ROOT

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
SETTINGS = {
    "dense": Setting(student=Head(bias=True, softcap=3.0), masked=True, hard_weight=0.5, items=(7,)),
    "sparse": Setting(k=3, teacher=Head(projected=False), student=Head(bias=True), hard_weight=0.5),
    "logits": Setting(student=Head(projected=False), teacher=Head(projected=False), items=(4,)),
}


@needs_triton
def test_triton_computes_the_plain_losses() -> None:
    """Otherwise the student that a GPU trains is another than the one that was tested on a processor."""
    # In a process of its own: Triton must know from its first import that it is to interpret.
    command = [sys.executable, "-W", "ignore", "-m", "tests.kernels.interpreted"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 30


@pytest.mark.parametrize("name", SETTINGS)
def test_compiled_rows_are_the_plain_ones(name: str) -> None:
    """Otherwise torch.compile, which may reorder anything, trains another student."""
    torch._dynamo.reset()
    from knowledge_distillation.kernels import backends

    with pytest.MonkeyPatch.context() as patch:  # the same graph, without minutes of C++
        patch.setattr(backends, "compiled", lambda: torch.compile(backends.rows, backend="aot_eager"))
        hold_in_float32(replace(SETTINGS[name], divergence="generalized_jsd", backend="compiled"))


def test_triton_is_refused_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a choice that cannot be is an error from inside a compiler, or another precision without a word."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else found(name))
    with pytest.raises(MissingExtraError, match="backend 'auto'"):
        fused_divergence(torch.zeros(2, 5), torch.zeros(2, 5), backend="triton")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="computes float32 on CUDA"):
        fused_divergence(torch.zeros(2, 5), torch.zeros(2, 5), backend="triton")
