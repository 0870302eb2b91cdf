"""Teachers by name: scikit-learn's ensembles of trees, fitted on the training rows when they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from knowledge_distillation.domains.labelling import UNLABELLED
from knowledge_distillation.domains.tabular.columns import Training
from knowledge_distillation.domains.tabular.estimators import Estimator
from knowledge_distillation.domains.tabular.needed import scikit_learn
from knowledge_distillation.errors import ConfigError

Labels = Literal["given", "all"]
NONE: Mapping[str, Any] = {}


def gradient_boosting(
    training: Training, settings: Mapping[str, Any] = NONE, labels: Labels = "given", seed: int = 0
) -> nn.Module:
    """Gradient boosting of scikit-learn, exact splits, for up to some ten thousand rows.

    Args:
        training: rows and labels, as the data set gives them.
        settings: of `GradientBoostingClassifier` or `GradientBoostingRegressor`, such as {n_estimators: 200}.
        labels: "given" learns from the labels that the student has; "all" also from those that `labelled` hides.
        seed: its random_state.
    """
    return _fitted("GradientBoosting", training, settings, labels, seed)


def hist_gradient_boosting(
    training: Training, settings: Mapping[str, Any] = NONE, labels: Labels = "given", seed: int = 0
) -> nn.Module:
    """Gradient boosting of scikit-learn on histograms, for many rows; arguments as of `gradient_boosting`."""
    return _fitted("HistGradientBoosting", training, settings, labels, seed)


def random_forest(
    training: Training, settings: Mapping[str, Any] = NONE, labels: Labels = "given", seed: int = 0
) -> nn.Module:
    """A random forest of scikit-learn; arguments as of `gradient_boosting`."""
    return _fitted("RandomForest", training, settings, labels, seed)


def extra_trees(
    training: Training, settings: Mapping[str, Any] = NONE, labels: Labels = "given", seed: int = 0
) -> nn.Module:
    """Extremely randomised trees of scikit-learn; arguments as of `gradient_boosting`."""
    return _fitted("ExtraTrees", training, settings, labels, seed)


def _fitted(kind: str, training: Training, settings: Mapping[str, Any], labels: Labels, seed: int) -> nn.Module:
    if not isinstance(training, Training):
        raise ConfigError("Trees are fitted on the training rows of a table, which a tabular data set gives. Use one.")
    rows, targets = _labelled(training, training.given if labels == "given" else training.every)
    ensemble = scikit_learn("ensemble")
    build: Callable[..., Any] = getattr(ensemble, f"{kind}{'Classifier' if training.classes else 'Regressor'}")
    estimator = build(**{"random_state": seed, **settings})
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    elif targets.ndim == 2 and "Boosting" in kind:  # it predicts one number
        estimator = scikit_learn("multioutput").MultiOutputRegressor(estimator)
    return Estimator(estimator.fit(rows, targets), training.classes)


def _labelled(training: Training, labels: Tensor) -> tuple[Any, Any]:
    rows, targets = training.rows.numpy(), labels.numpy()
    known = targets != UNLABELLED if training.classes else ~np.isnan(targets).any(axis=1)
    if training.classes and len(np.unique(targets[known])) < 2:
        raise ConfigError("A teacher needs labels of two classes at least. Set labelled higher, or labels to all.")
    return rows[known], targets[known]
