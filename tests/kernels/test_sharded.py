"""What goes wrong for a user whose model is spread over several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.ranks import Ranks


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_ddp_and_fsdp_give_the_gradient_of_the_whole_batch() -> None:
    """Otherwise ranks drift apart, or a sharded head is read in pieces."""
    Ranks(Path(__file__).parent / "sharded_ranks.py").succeed()
