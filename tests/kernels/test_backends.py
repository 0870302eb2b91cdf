"""What goes wrong for a user when the fast way and the plain way to compute a loss disagree."""

from __future__ import annotations

import torch

from tests.kernels.setting import Head, Setting

SETTINGS = {
    "dense": Setting(dtype=torch.float32, student=Head(bias=True, softcap=3.0), masked=True, hard_weight=0.5),
    "sparse": Setting(dtype=torch.float32, k=3, student=Head(bias=True), hard_weight=0.5),
}
