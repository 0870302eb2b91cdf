"""Is an exemption true? A law that a loss is excused from must be broken somewhere, or have nothing to say."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from tests.laws.case import Case
from tests.laws.checks import CHECKS
from tests.laws.draws import Draw
from tests.laws.evaluate import Inapplicable, build, evaluate
from tests.laws.rows import leading

TRIALS = [Draw(seed=seed, batch=3 + seed % 3, scale=scale) for seed, scale in enumerate([1.0, 0.1, 4.0, 1.0])]


def is_true(law: str, cases: Iterable[Case]) -> bool:
    """Whether some case really breaks the law, or cannot be asked about it."""
    return any(breaks(law, case) for case in cases)


def breaks(law: str, case: Case) -> bool:
    for draw in TRIALS:
        try:
            CHECKS[law](case, draw)
        except Inapplicable:
            return True
        except Exception:
            return True
    return law == "non_negative" and falls_below_zero(case, TRIALS[0])


def falls_below_zero(case: Case, draw: Draw, steps: int = 150) -> bool:
    """Train the student and the learned parts on the loss alone: what can be negative gets there."""
    inputs, leaves = leading(draw.inputs(case))
    module = build(case)
    optimiser = torch.optim.Adam([*leaves, *module.parameters()], lr=0.1)
    for _ in range(steps):
        value = evaluate(case, inputs, module=module)
        if value.item() < -1e-6:
            return True
        optimiser.zero_grad()
        torch.autograd.backward(value)
        optimiser.step()
    return False
