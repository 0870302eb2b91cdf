"""What hypothesis chooses for one check, and how often: the profiles `quick` and `full`."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.laws.case import Case, Inputs
from tests.laws.collect import signal_of
from tests.laws.rows import narrowed, on_signals

FULL = os.environ.get("KD_LAWS", "quick") == "full"
EXAMPLES = 10 if FULL else 3
# laws that are slow, or that already try every setting of theirs in one example
FEW_EXAMPLES = {"gradcheck": 6, "precision": 6, "temperature_range": 6, "compiled": 1}
FEW_EXAMPLES |= {"module_equals_function": 4, "batch_of_one": 4, "silent_signals": 4}
if not FULL:
    FEW_EXAMPLES |= dict.fromkeys(
        ("round_trip", "all_masked", "batch_of_one", "teacher_detached", "silent_signals", "module_equals_function",
         "masked_items", "gradcheck", "precision"), 2
    )  # fmt: skip

# signals that stay valid, and oracles that stay exact, when multiplied by a number
SCALABLE = ("logits", "feature", "hidden", "vector", "embedding")


def scalable(case: Case) -> bool:
    signal = signal_of(case)
    return "prob" not in signal and any(word in signal for word in SCALABLE)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One choice of everything a check may vary."""

    seed: int = 0
    batch: int = 3
    """Samples; a check raises it to what the loss and the law need."""
    cut: int = 0
    """Classes or columns of maps less than the case declares."""
    scale: float = 1.0
    """What the signals are multiplied by, where that leaves them valid."""
    kept: float = 0.6
    """Share of the items that the mask keeps, about."""
    temperature: float = 4.0

    @property
    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def inputs(self, case: Case, *, extra: int = 0) -> Inputs:
        """float64 inputs with at least `extra` samples more than the loss needs."""
        inputs = case.inputs(self.generator, max(self.batch, case.minimum_batch + extra))
        if self.cut:
            inputs = narrowed(case, inputs, self.cut)
        if self.scale == 1.0 or not scalable(case):
            return inputs
        return on_signals(inputs, lambda tensor: tensor * self.scale if tensor.is_floating_point() else tensor)

    def mask(self, shape: tuple[int, ...], *, at_least: int = 1) -> Tensor:
        """A random mask with at least so many items kept, and one masked where the shape allows it."""
        order = torch.rand(shape, generator=self.generator)
        rank = order.flatten().argsort().argsort().view(shape)
        kept = max(at_least, min(order.numel() - 1, round(self.kept * order.numel())))
        return rank < kept


def draws() -> st.SearchStrategy[Draw]:
    """Hypothesis begins with the first choice of each list: an ordinary batch."""
    return st.builds(
        Draw,
        seed=st.integers(0, 2**16),
        batch=st.sampled_from([3, 4, 2, 5, 1]),
        cut=st.sampled_from([0, 1, 3]),
        scale=st.sampled_from([1.0, 4.0, 0.1]),
        kept=st.sampled_from([0.6, 0.3, 0.9]),
        temperature=st.floats(1e-2, 1e4),
    )


def profile(law: str, *, shrink: bool = True) -> settings:
    """Deterministic settings for one law."""
    return settings(
        max_examples=min(EXAMPLES, FEW_EXAMPLES.get(law, EXAMPLES)),
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
