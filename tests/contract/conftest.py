"""Each contract test runs in an empty working directory and leaves no global setting behind."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from knowledge_distillation import kd_training
from knowledge_distillation.training import tracking
from tests.contract.comet import FakeComet
from tests.ranks import Ranks, results
from tests.training.workplace import workplace

__all__ = ["workplace"]


@pytest.fixture
def comet(monkeypatch: pytest.MonkeyPatch) -> type[FakeComet]:
    """Comet as if its library were installed; experiments are kept in `FakeComet.made`."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        tracking.importlib.util, "find_spec", lambda name, *rest: object() if name == "comet_ml" else find(name, *rest)
    )
    monkeypatch.setattr(tracking, "CometLogger", FakeComet)
    monkeypatch.setattr(FakeComet, "made", [])
    return FakeComet


@pytest.fixture
def comet_file(workplace: Path) -> Path:
    """The original's three lines: API key, project name, workspace."""
    path = workplace / "comet.txt"
    path.write_text("secret-key\nspeech-processing\nmy-team\n")
    return path


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the front door asks of `lightning.Trainer`; no trainer is built, so any hardware can be asked for."""
    asked: dict[str, Any] = {}

    def instead(wanted: dict[str, Any]) -> SimpleNamespace:
        asked.update(wanted)
        return SimpleNamespace()

    monkeypatch.setattr(kd_training, "trainer_with", instead)
    return asked


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What two processes that train together saw, `first` and `second`, and what was printed."""
    folder = tmp_path_factory.mktemp("two_processes")
    done = Ranks(Path(__file__).with_name("two_processes.py"), folder, directory=folder).wait()
    assert [one.returncode for one in done] == [0, 0], done[0].stderr[-3000:]
    first, second = results(folder)
    return SimpleNamespace(first=first, second=second, printed="".join(one.stdout for one in done))


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has four GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
