"""NaN and infinity in a training: seen before the optimiser moves, and answered as the user chose."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, NonFiniteError, nearest

logger = logging.getLogger(__name__)
POLICIES = ("stop", "skip", "rollback")
IN_A_ROW = 10
"""Steps that may be left out one after the other before the run stops all the same."""


class NonFiniteGuard:
    """Looks at loss, gradients and learning rate of every step before the optimiser moves.

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
        self._buffers: list[tuple[dict[str, Any], str, Tensor]] = []

    def looks(self, device: torch.device) -> bool:
        """Whether steps on this device are looked at."""
        return self.policy != "stop" or device.type == "cpu"

    def begin(self, model: nn.Module) -> None:
        """Remember the model's buffers: batch statistics take NaN in before any loss is known.

        Those that are not finite now, such as a mask of -inf, are meant so and are left alone.
        """
        self._buffers = []
        if self.policy != "stop":
            self._buffers = [
                (module._buffers, name, buffer.detach().clone())  # by name: some modules put another tensor in place
                for module in model.modules()
                for name, buffer in module._buffers.items()
                if buffer is not None and bool(torch.isfinite(buffer).all())
            ]

    def fault(self, loss: Tensor | None, gradients: Iterable[Tensor], groups: Iterable[Mapping[str, Any]]) -> str:
        """What of a step is not finite, in words; "" where all is.

        Args:
            loss: a detached scalar.
            gradients: of all parameters.
            groups: the optimiser's parameter groups, whose learning rates are looked at.
        """
        if loss is not None and not math.isfinite(value := loss.item()):
            return f"the loss is {value}"
        if not self._are_finite(gradients):
            return "a gradient is not finite"
        rates = [group["lr"] for group in groups if isinstance(group.get("lr"), float)]
        return "" if all(map(math.isfinite, rates)) else f"the learning rate is {rates}"

    def _are_finite(self, tensors: Iterable[Tensor]) -> bool:
        groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
        for tensor in tensors:
            dense = tensor.coalesce().values() if tensor.is_sparse else tensor
            groups[dense.device, dense.dtype].append(dense)
        return all(self._all_finite(group) for group in groups.values())

    def _all_finite(self, tensors: Sequence[Tensor]) -> bool:
        device = tensors[0].device
        if device not in self._found:
            self._found[device] = torch.zeros((), device=device), torch.ones((), device=device)
        found, one = self._found[device]
        torch._amp_foreach_non_finite_check_and_unscale_(list(tensors), found, one)  # the check of GradScaler
        if found.item() == 0:
            return True
        found.zero_()
        return False

    def _statistics(self) -> Iterator[Tensor]:
        """The floating-point buffers, as they are now."""
        return (registry[name] for registry, name, kept in self._buffers if kept.is_floating_point())

    def passed(self, step: int) -> None:
        """A step was finite. Statistics that overflowed all the same, since none of it shows in the loss, are put back.

        Args:
            step: its number.
        """
        self.in_a_row = 0
        if not self._are_finite(self._statistics()):
            logger.warning("step %d: a buffer of the model is not finite; all are put back", step)
            self._put_back()
        for registry, name, kept in self._buffers:
            kept.copy_(registry[name])

    def failed(self, step: int, shown: str) -> None:
        """A step was not finite and is left out.

        Args:
            step: its number.
            shown: what `fault` said.

        Raises:
            NonFiniteError: if the policy is "stop", or too many in a row were left out.
        """
        self.in_a_row += 1
        advice = "Lower the learning rate, use bf16 or 32-bit precision, or look for bad samples."
        if self.policy == "stop":
            raise NonFiniteError(
                f"The training loss, its gradients and the learning rate must be finite, and {shown} at step {step}. "
                f"The optimiser has not moved, and the last checkpoint is whole. {advice} Or pass nonfinite='skip' or "
                "'rollback'."
            )
        if self.in_a_row >= IN_A_ROW:
            raise NonFiniteError(
                f"{self.in_a_row} steps in a row were not finite, the last is step {step}, where {shown}; leaving out "
                f"more would train on nothing. {advice}"
            )
        logger.warning("step %d: %s; it is left out (nonfinite=%r)", step, shown, self.policy)
        self._put_back()

    def _put_back(self) -> None:
        with torch.no_grad():
            for registry, name, kept in self._buffers:
                registry[name].copy_(kept)
