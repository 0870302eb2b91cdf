"""The real tables that scikit-learn ships, so that nothing is downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.tabular.data import Metric, as_data
from knowledge_distillation.domains.tabular.needed import scikit_learn
from knowledge_distillation.domains.tabular.table import Table


def breast_cancer(
    *, validation: float = 0.25, batch_size: int = 32, labelled: int | None = None, seed: int = 0, workers: int = 0
) -> Data:
    """569 tumours with 30 measured numbers, malignant or benign (Wolberg, Street, Mangasarian 1995).

    Args:
        validation, batch_size, labelled, seed, workers: as of `csv_table`.
    """
    return _data("breast_cancer", validation, batch_size, labelled, seed, workers)


def wine(
    *, validation: float = 0.25, batch_size: int = 32, labelled: int | None = None, seed: int = 0, workers: int = 0
) -> Data:
    """178 wines with 13 chemical measurements, from three cultivars (Forina 1991); arguments as of `breast_cancer`."""
    return _data("wine", validation, batch_size, labelled, seed, workers)


def iris(
    *, validation: float = 0.25, batch_size: int = 32, labelled: int | None = None, seed: int = 0, workers: int = 0
) -> Data:
    """150 irises with 4 lengths, of three species (Fisher 1936); arguments as of `breast_cancer`."""
    return _data("iris", validation, batch_size, labelled, seed, workers)


def digits_table(
    *, validation: float = 0.25, batch_size: int = 32, labelled: int | None = None, seed: int = 0, workers: int = 0
) -> Data:
    """1,797 handwritten digits as rows of 64 grey values from 0 to 16; arguments as of `breast_cancer`."""
    return _data("digits", validation, batch_size, labelled, seed, workers)


def diabetes(
    *,
    validation: float = 0.25,
    metric: Metric = "rmse",
    batch_size: int = 32,
    labelled: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """442 patients with 10 numbers, and how their diabetes went on, from 25 to 346 (Efron et al. 2004).

    Args:
        metric: score, as of `csv_table`.
        validation, batch_size, labelled, seed, workers: as of `csv_table`.
    """
    return _data("diabetes", validation, batch_size, labelled, seed, workers, metric, scaled=False)


def linnerud(
    *,
    validation: float = 0.25,
    metric: Metric = "rmse",
    batch_size: int = 8,
    labelled: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """20 men with 3 exercises, and their weight, waist and pulse: three numbers to predict; arguments as of `diabetes`.

    So few rows try a program, and decide nothing.
    """
    return _data("linnerud", validation, batch_size, labelled, seed, workers, metric)


def _data(
    name: str,
    validation: float,
    batch_size: int,
    labelled: int | None,
    seed: int,
    workers: int,
    metric: Metric = "rmse",
    **settings: Any,
) -> Data:
    found = getattr(scikit_learn("datasets"), f"load_{name}")(**settings)
    is_regression = found.target.dtype.kind == "f"
    columns = tuple(map(str, found.feature_names))
    table = Table(
        name,
        columns,
        (None,) * len(columns),
        found.data.astype(np.float64),
        found.target.reshape(len(found.target), -1) if is_regression else found.target.astype(np.int64),
        () if is_regression else tuple(map(str, found.target_names)),
    )
    return as_data(
        table, validation=validation, metric=metric, batch_size=batch_size, labelled=labelled, seed=seed,
        workers=workers,
    )  # fmt: skip
