"""An objective without its teacher: what the control arm of a comparison learns from."""

from __future__ import annotations

import copy
from dataclasses import replace

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import CrossEntropy, FusedDivergence
from knowledge_distillation.objective.binding import bind
from knowledge_distillation.objective.objective import Objective
from knowledge_distillation.objective.term import Term

SMOOTHING = 0.1
"""The share that Szegedy et al. (2015), arXiv:1512.00567, give to the uniform distribution."""


def without_teacher(objective: Objective) -> dict[str, Term]:
    """The terms of an objective that look at no teacher, such as cross-entropy or the student's own loss.

    Of a fused divergence that mixes cross-entropy in, that half remains.

    Args:
        objective: not changed; the terms have losses of their own.

    Returns:
        Name -> term, empty if there is none. One term alone gets the weight 1; several keep theirs.
    """
    own = {}
    for name, term in objective.terms.items():
        loss = term.loss
        if term.is_monitor:
            continue
        if not bind(name, term).uses_teacher:
            own[name] = copy.deepcopy(term)
        elif isinstance(loss, FusedDivergence) and loss.hard_weight:
            labels = CrossEntropy(ignore_index=loss.ignore_index)
            own[f"cross_entropy of {name}"] = Term(labels, weight=term.weight * loss.hard_weight)
    if len(own) == 1:
        return {name: replace(term, weight=1.0) for name, term in own.items()}
    return own


def smoothed(terms: dict[str, Term]) -> dict[str, Term]:
    """The same terms, with 0.1 of the uniform distribution in the targets of every cross-entropy.

    Raises:
        ConfigError: if no term is a cross-entropy.
    """
    found = {}
    for name, term in terms.items():
        loss = copy.copy(bind(name, term).loss)
        if isinstance(loss, CrossEntropy):
            loss.label_smoothing = SMOOTHING
            found[name] = replace(term, loss=loss)
    if not found:
        raise ConfigError(
            f"The arm 'label_smoothing' smooths the labels of cross-entropy, and the control learns from "
            f"{', '.join(terms) or 'nothing'}. Leave the arm out."
        )
    return {**terms, **found}
