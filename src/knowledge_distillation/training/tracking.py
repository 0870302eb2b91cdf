"""Experiment tracking by name, through Lightning's own loggers. Keys stay out of every message; see `keys`."""

from __future__ import annotations

import importlib.util
import logging
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CometLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from knowledge_distillation.errors import ConfigError, DistillationError, MissingExtraError, nearest
from knowledge_distillation.training.keys import hiding_keys, known_keys, plain_without_keys, remember

logger = logging.getLogger(__name__)


def check_trackers(names: Iterable[str]) -> None:
    """Raise ConfigError for an unknown name, and MissingExtraError where a tracker's library is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"track: there is no tracker named {name!r}. {nearest(name, TRACKERS)}")
        _require(TRACKERS[name][0], extra=name)


def trackers(names: Sequence[str], directory: Path, experiment: str) -> list[Logger]:
    """Loggers by name: "tensorboard", "comet", "wandb", "mlflow".

    Each reads its key from where its own library does (COMET_API_KEY, WANDB_API_KEY, MLFLOW_TRACKING_URI).

    Raises:
        ConfigError: if a name is unknown.
        MissingExtraError: if the library is not installed; names the extra.
    """
    check_trackers(names)
    for key in known_keys():
        remember(key)  # so that the libraries' own log lines do not show it
    return [_begun(name, partial(TRACKERS[name][1], directory, experiment)) for name in names]


TRACKERS: Mapping[str, tuple[str, Callable[[Path, str], Logger]]] = {
    "tensorboard": (
        "tensorboard",
        lambda directory, experiment: TensorBoardLogger(directory, name="tensorboard", version=""),
    ),
    "comet": (
        "comet_ml",
        lambda directory, experiment: _comet(os.environ.get("COMET_API_KEY"), None, None, experiment),
    ),
    "wandb": ("wandb", lambda directory, experiment: WandbLogger(name=experiment, save_dir=directory)),
    "mlflow": (
        "mlflow",
        lambda directory, experiment: MLFlowLogger(experiment_name=experiment, save_dir=str(directory / "mlruns")),
    ),
}


def comet_from_file(path: str | Path, experiment: str) -> Logger:
    """A Comet logger from the original toolkit's file of three lines: API key, project name, workspace.

    An empty path reads COMET_API_KEY from the environment instead.

    Raises:
        ConfigError: if the file is missing, not UTF-8 or has fewer than three filled lines. The lines are never shown.
        MissingExtraError: if comet_ml is not installed.
    """
    _require("comet_ml", extra="comet")
    if not str(path):
        return _comet(os.environ.get("COMET_API_KEY"), None, None, experiment)
    api_key, project, workspace = read_comet_file(path)
    return _comet(api_key, project, workspace, experiment)


def read_comet_file(path: str | Path) -> tuple[str, str, str]:
    """The three lines of a Comet file, with line ends of any system stripped.

    Logs a warning where others than its owner may read the file.
    """
    file = Path(path)
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The Comet file {str(file)!r} cannot be read ({type(error).__name__}). It must hold three lines in UTF-8: "
            "API key, project name, workspace."
        ) from None
    if len(lines) < 3 or not all(lines[:3]):
        filled = sum(map(bool, lines[:3]))
        raise ConfigError(
            f"The Comet file {str(file)!r} must hold three lines: API key, project name, workspace; {filled} of them "
            "are filled."
        )
    if os.name == "posix" and mode & 0o077:
        logger.warning(
            "The Comet file %s holds an API key and may be read by others (mode %04o). Run: chmod 600 %s",
            file,
            mode,
            file,
        )
    return lines[0], lines[1], lines[2]


def _comet(api_key: str | None, project: str | None, workspace: str | None, experiment: str) -> Logger:
    if not api_key:
        raise ConfigError("Comet needs an API key: set COMET_API_KEY or name the original's three-line file.")
    remember(api_key)
    return _begun(
        "Comet",
        lambda: CometLogger(
            api_key=api_key,
            project=project,
            workspace=workspace,
            name=experiment or None,
            auto_histogram_weight_logging=True,
        ),
    )


def _begun(name: str, make: Callable[[], Logger]) -> Logger:
    said = f"{name} could not be reached or refused the experiment"
    try:
        return hiding_keys(said, make)
    except DistillationError:
        raise
    except Exception as error:
        raise DistillationError(f"{said}: {type(error).__name__}: {error}") from error


def _require(package: str, *, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(
            f"Tracking with {extra} needs the package {package}, which is not installed. "
            f"Run: pip install 'knowledge-distillation-toolkit[{extra}]'"
        )


def log_hyperparameters(loggers: Iterable[Logger], values: Mapping[str, Any] | None) -> None:
    """Send hyperparameters to every logger, without keys; None sends nothing."""
    if not values:
        return
    for tracker in loggers:
        send = partial(tracker.log_hyperparams, plain_without_keys(values))
        hiding_keys("The tracker did not take the hyperparameters", send)
