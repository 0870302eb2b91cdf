"""A place where trainings leave no trace: a working directory of their own, and the process's switches as before."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.training.workplace import SET_BY_LIGHTNING


@contextmanager
def quiet_place(folder: Path) -> Iterator[Path]:
    """Inside, the working directory is the folder, which is made; nothing is logged or warned of."""
    folder.mkdir(parents=True, exist_ok=True)
    before, variables = Path.cwd(), {name: os.environ.get(name) for name in SET_BY_LIGHTNING}
    deterministic = torch.are_deterministic_algorithms_enabled()
    os.chdir(folder)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield folder
    finally:
        logging.disable(logging.NOTSET)
        os.chdir(before)
        torch.use_deterministic_algorithms(deterministic)
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
