"""Any fitted estimator of scikit-learn as a teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_distillation.domains.tabular.needed import scikit_learn
from knowledge_distillation.errors import ConfigError, ModelContractError


class Estimator(nn.Module):
    """A fitted estimator of scikit-learn as a teacher: a module without parameters, through which no gradient flows.

    Its answers come from the CPU. Where it has `predict_proba` they are log-probabilities, else predictions. As the
    teacher of `distill`, its fingerprint is a hash of all that was fitted.

    Args:
        fitted: takes rows [batch, columns] as numbers.
        classes: of the task, if there are classes; ids of `fitted.classes_` are below it, and a class that it has not
            seen gets the least probability.
        least_probability: what a forest gives to no tree's class, above 0 and below 1: its logarithm must be finite.

    Raises:
        ConfigError: if the estimator is not fitted, or its classes are no ids of the task.

    Example:
        >>> import torch
        >>> from sklearn.tree import DecisionTreeRegressor
        >>> tree = DecisionTreeRegressor().fit([[0.0], [1.0]], [3.0, 5.0])
        >>> Estimator(tree)(torch.tensor([[0.9]])).tolist()
        [[5.0]]
    """

    def __init__(self, fitted: Any, classes: int = 0, *, least_probability: float = 1e-6) -> None:
        super().__init__()
        if not callable(getattr(fitted, "predict", None)):
            raise ConfigError(
                f"A teacher of a table must be a fitted estimator with predict, got {type(fitted).__name__}. A file "
                "that holds one is a pickle, which runs code when it is read: load it yourself if you trust it."
            )
        try:
            scikit_learn("utils.validation").check_is_fitted(fitted)
        except ValueError as error:  # NotFittedError
            raise ConfigError(f"{type(fitted).__name__} must be fitted before it can teach. Call its fit.") from error
        if not 0 < least_probability < 1:
            raise ConfigError(f"least_probability must be above 0 and below 1, got {least_probability!r}.")
        self.fitted = fitted
        self.classes = classes
        self.least_probability = least_probability
        self._ids = _class_ids(fitted, classes) if classes else None

    def forward(self, rows: Tensor) -> Tensor:
        """[batch, columns] -> log-probabilities [batch, classes], or predictions [batch, outputs]; float32."""
        table = rows.detach().float().cpu().numpy()
        if self._ids is None:
            answers = np.asarray(self.fitted.predict(table)).reshape(len(table), -1)
        else:
            chances = np.zeros((len(table), self.classes))
            chances[:, self._ids] = self.fitted.predict_proba(table)
            answers = np.log(np.clip(chances, self.least_probability, None))
        return torch.from_numpy(answers.astype(np.float32)).to(rows.device)

    def extra_repr(self) -> str:
        """What it is and a hash of all that was fitted, from which the teacher's fingerprint is made."""
        from joblib import hash as digest_of  # comes with scikit-learn

        return (
            f"{type(self.fitted).__name__}, classes={self.classes}, {self.least_probability}, {digest_of(self.fitted)}"
        )


def _class_ids(fitted: Any, classes: int) -> Any:
    if not callable(getattr(fitted, "predict_proba", None)):
        raise ConfigError(
            f"{type(fitted).__name__} has no predict_proba, so that it says nothing about the classes it does not "
            "choose. Wrap it in scikit-learn's CalibratedClassifierCV, or fit it with probability=True."
        )
    found = np.asarray(fitted.classes_)
    if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= classes:
        raise ModelContractError(
            f"The classes of {type(fitted).__name__} must be ids from 0 to {classes - 1}, got {found.tolist()[:5]}: "
            "its answers would be taken for other classes. Fit it on the labels that the data set gives."
        )
    return found
