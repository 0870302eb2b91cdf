"""A fixture for tests that train: an empty working directory, and random state and switches put back afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

SET_BY_LIGHTNING = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "CUBLAS_WORKSPACE_CONFIG", "HOROVOD_FUSION_THRESHOLD")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The empty working directory, where default run directories would go."""
    place = tmp_path / "workplace"
    place.mkdir()
    monkeypatch.chdir(place)
    for name in SET_BY_LIGHTNING:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield place
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    torch.use_deterministic_algorithms(deterministic)
