"""What goes wrong for a user when tracking is silent, breaks, or tells a secret."""

from __future__ import annotations

import importlib.util
import logging
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from knowledge_distillation.errors import ConfigError, DistillationError, MissingExtraError
from knowledge_distillation.run import distill
from knowledge_distillation.training import tracking
from knowledge_distillation.training.metrics_file import MetricsFile
from knowledge_distillation.training.tracking import (
    TRACKERS,
    comet_from_file,
    log_hyperparameters,
    read_comet_file,
    trackers,
)
from tests.training.toys import QUIET, loader, mlp

KEY = "q9ZsecretKEY77"


class FakeComet:
    """Stands for Lightning's CometLogger; fails as the real one does, with the key in its words."""

    def __init__(self, *, api_key: str, **settings: Any) -> None:
        raise ConnectionError(f"https://comet.example/?api_key={api_key} answered 403 for {settings}")


@pytest.fixture
def broken_comet(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: name == "comet_ml" or find(name, *rest))
    monkeypatch.setattr(tracking, "CometLogger", FakeComet)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)


def everything_said(error: BaseException) -> str:
    """The message and all that a traceback would print, locals included."""
    lines = traceback.TracebackException.from_exception(error, capture_locals=False).format()
    return "\n".join([repr(error), str(error), *lines])


@pytest.mark.parametrize("source", ["file", "environment"])
def test_the_comet_key_is_in_no_message(
    source: str,
    tmp_path: Path,
    broken_comet: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Otherwise a failed login puts the user's key into logs and bug reports."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "comet.txt"
    file.write_text(f"{KEY}\nproject\nteam\n")
    monkeypatch.setenv("COMET_API_KEY", KEY)
    ask = partial(comet_from_file, file) if source == "file" else partial(trackers, ["comet"], tmp_path)
    with pytest.raises(DistillationError, match=r"Comet could not be reached.*403") as caught:
        ask("experiment")
    printed = capsys.readouterr()
    for text in (everything_said(caught.value), caplog.text, printed.out, printed.err):
        assert KEY not in text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["Linux", "Windows", "old Mac"])
def test_a_comet_file_of_any_system_is_read(end: str, tmp_path: Path) -> None:
    """Otherwise a key saved on Windows carries an invisible character and is refused."""
    file = tmp_path / "comet.txt"
    file.write_bytes(end.join([KEY, " my project ", "team", ""]).encode())
    assert read_comet_file(file) == (KEY, "my project", "team")


def test_a_comet_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    """Otherwise a key saved by Windows Notepad begins with an invisible character and is refused."""
    file = tmp_path / "comet.txt"
    file.write_text(f"{KEY}\nproject\nteam\n", encoding="utf-8-sig")
    assert read_comet_file(file)[0] == KEY


@pytest.mark.parametrize("content", [f"{KEY}\n", f"{KEY}\n\nteam\n", ""], ids=["one line", "empty line", "empty"])
def test_an_incomplete_comet_file_is_named_without_its_lines(content: str, tmp_path: Path) -> None:
    """Otherwise the complaint shows the key."""
    file = tmp_path / "comet.txt"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"three lines: API key, project name, workspace") as caught:
        read_comet_file(file)
    assert KEY not in everything_said(caught.value)


@pytest.mark.parametrize("content", [None, f"{KEY}\nproject\nteam\n".encode("utf-16")], ids=["missing", "UTF-16"])
def test_an_unreadable_comet_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    """Otherwise the user sees a decoding error from the inside."""
    file = tmp_path / "comet.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"comet\.txt.*cannot be read") as caught:
        read_comet_file(file)
    assert KEY not in everything_said(caught.value)


def test_comet_without_a_key_says_where_to_put_it(
    tmp_path: Path, broken_comet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the library asks on a terminal that a job does not have."""
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="COMET_API_KEY"):
        trackers(["comet"], tmp_path, "experiment")


def test_an_unknown_tracker_shows_the_near_name(tmp_path: Path) -> None:
    """Otherwise a whole training runs untracked."""
    with pytest.raises(ConfigError, match=r"'tensorbord'.*Did you mean 'tensorboard'"):
        trackers(["tensorbord"], tmp_path, "experiment")


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_names_the_extra(name: str, tmp_path: Path, nothing_installed: None) -> None:
    """Otherwise the user must guess which package to install."""
    with pytest.raises(MissingExtraError, match=rf"pip install 'knowledge-distillation-toolkit\[{name}\]'"):
        trackers([name], tmp_path, "experiment")


def test_every_trackers_extra_is_one_of_the_packages_extras() -> None:
    """Otherwise the advice in the message installs nothing."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(TRACKERS) <= set(project["optional-dependencies"])


def test_tensorboard_writes_the_curves_of_a_run(tmp_path: Path) -> None:
    """Otherwise `track=["tensorboard"]` is accepted and leaves an empty folder."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    distill(mlp(9), mlp(1), loader(), directory=tmp_path / "run", max_epochs=1, track=["tensorboard"], trainer=QUIET)
    (events,) = (tmp_path / "run" / "tensorboard").rglob("events.*")
    read = accumulator.EventAccumulator(str(events.parent))
    read.Reload()
    assert {"kd", "cross_entropy", "train_final_loss"} <= set(read.Tags()["scalars"])


def test_metrics_of_an_interrupted_part_are_kept(tmp_path: Path) -> None:
    """Otherwise resuming wipes the curves of the first half."""
    for number in range(3):
        logger = MetricsFile(tmp_path)
        logger.log_metrics({"part": number})
        logger.save()
    files = {path.name: path.read_text().split()[-1] for path in tmp_path.glob("metrics*.csv")}
    assert set(files) == {"metrics.csv", "metrics.1.csv", "metrics.2.csv"}
    assert [files[f"metrics.{n}csv"][0] for n in ("1.", "2.", "")] == ["0", "1", "2"]


def test_hyperparameters_reach_every_logger_and_none_sends_nothing() -> None:
    """Otherwise a tracked run lacks the settings that made it."""
    sent: list[Any] = []

    class Sink:
        def log_hyperparams(self, values: Any) -> None:
            sent.append(values)

    log_hyperparameters([Sink(), Sink()], {"lr": 1})
    log_hyperparameters([Sink()], None)
    log_hyperparameters([Sink()], {})
    assert sent == [{"lr": 1}, {"lr": 1}]
