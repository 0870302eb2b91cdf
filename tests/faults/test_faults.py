"""What goes wrong for a user when a fault is not survived; `make test-faults` injects all of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.kind import kinds_of_faults

KINDS = kinds_of_faults()
SAMPLE = [(name, kind.all * i // kind.sample) for name, kind in KINDS.items() for i in range(kind.sample)]


@pytest.mark.parametrize(("name", "number"), SAMPLE)
def test_a_sample_of_every_kind_is_survived(name: str, number: int, tmp_path: Path) -> None:
    """Otherwise hours of training are lost, or go on as another run."""
    KINDS[name].inject(number, tmp_path)
