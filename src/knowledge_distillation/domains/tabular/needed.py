"""scikit-learn, imported where it is used."""

from __future__ import annotations

import importlib
from types import ModuleType

from knowledge_distillation.errors import MissingExtraError


def scikit_learn(module: str) -> ModuleType:
    """A module of scikit-learn, such as "ensemble".

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise MissingExtraError(
            "Forests, boosted trees and the tables that scikit-learn ships need it: pip install "
            "'knowledge-distillation-toolkit[tabular]'"
        ) from error
