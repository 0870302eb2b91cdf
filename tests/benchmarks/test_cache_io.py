"""What goes wrong for a reader of the results when a cache that was written for timing is none that we would read."""

from __future__ import annotations

import pytest

from tests.benchmarks.asked import run


@pytest.mark.slow
def test_the_timed_cache_is_read_and_every_encoding_is_compared() -> None:
    """Otherwise a change of the format breaks the figures, which nobody notices until they are asked for."""
    found = run("cache_io", "--sequences", "4", "--rounds", "1", "--tokens", "2")
    assert found["kl"].keys() == found["bytes_per_token"].keys()
    lossy = [kl for name, kl in found["kl"].items() if kl is not None and name != "float32"]  # none for draws
    assert found["kl"]["float32"] <= min(lossy)
    assert found["bytes_per_token"]["top_k 64"] <= 256
    assert found["ratio_to_disk"] > 0
    assert found["tokens_per_second"] > 0
