"""NaN and infinity in a training: seen before the optimiser moves, and answered as the user chose."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, NonFiniteError, nearest

logger = logging.getLogger(__name__)
POLICIES = ("stop", "skip", "rollback")
IN_A_ROW = 10
"""Steps that may be left out one after the other before the run stops all the same."""


class NonFiniteGuard:
    """Looks at loss and gradients of every step before the optimiser moves.

    On a GPU that takes a wait for the device, so "stop" looks on logged steps only there; a checkpoint that is not
    finite is never written in any case.

    Args:
        policy: "stop" raises; "skip" leaves the step out; "rollback" goes back to last.ckpt and on with the next batch.

    Raises:
        ConfigError: if the policy is unknown.
    """

    def __init__(self, policy: str) -> None:
        if policy not in POLICIES:
            raise ConfigError(
                f"nonfinite must be one of {', '.join(POLICIES)}, got {policy!r}. {nearest(str(policy), POLICIES)}"
            )
        self.policy = policy
        self.in_a_row = 0
        self._found: dict[Any, tuple[Tensor, Tensor]] = {}
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def looks(self, device: torch.device) -> bool:
        """Whether steps on this device are looked at."""
        return self.policy != "stop" or device.type == "cpu"

    def begin(self, model: nn.Module) -> None:
        """Remember the model's buffers: batch statistics take NaN in before any loss is known."""
        self._buffers = []
        if self.policy != "stop":
            self._buffers = [(b, b.detach().clone()) for b in model.buffers() if b.is_floating_point()]

    def is_finite(self, loss: Tensor | None, gradients: Iterable[Tensor]) -> bool:
        """Whether a loss, a detached scalar, and all gradients are finite."""
        if loss is not None and not math.isfinite(loss.item()):
            return False
        groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
        for gradient in gradients:
            dense = gradient.coalesce().values() if gradient.is_sparse else gradient
            groups[dense.device, dense.dtype].append(dense)
        return all(self._all_finite(group) for group in groups.values())

    def _all_finite(self, gradients: Sequence[Tensor]) -> bool:
        device = gradients[0].device
        if device not in self._found:
            self._found[device] = torch.zeros((), device=device), torch.ones((), device=device)
        found, one = self._found[device]
        found.zero_()
        torch._amp_foreach_non_finite_check_and_unscale_(list(gradients), found, one)  # the check of GradScaler
        return not bool(found)

    def passed(self) -> None:
        """A step was finite."""
        self.in_a_row = 0
        for buffer, kept in self._buffers:
            kept.copy_(buffer)

    def failed(self, step: int, loss: Tensor | None) -> None:
        """A step was not finite and is left out.

        Raises:
            NonFiniteError: if the policy is "stop", or too many in a row were left out.
        """
        self.in_a_row += 1
        shown = (
            "a gradient is not finite" if loss is None or bool(torch.isfinite(loss)) else f"the loss is {float(loss)}"
        )
        advice = "Lower the learning rate, use bf16 or 32-bit precision, or look for bad samples."
        if self.policy == "stop":
            raise NonFiniteError(
                f"The training loss and its gradients must be finite, and {shown} at step {step}. The optimiser has "
                f"not moved, and the last checkpoint is whole. {advice} Or pass nonfinite='skip' or 'rollback'."
            )
        if self.in_a_row >= IN_A_ROW:
            raise NonFiniteError(
                f"{self.in_a_row} steps in a row were not finite, the last is step {step}, where {shown}; leaving out "
                f"more would train on nothing. {advice}"
            )
        logger.warning("step %d: %s; it is left out (nonfinite=%r)", step, shown, self.policy)
        with torch.no_grad():
            for buffer, kept in self._buffers:
                buffer.copy_(kept)
