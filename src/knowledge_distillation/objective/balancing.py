"""Automatic weights: bring terms of very different size to comparable influence, and show what was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses.inputs import check_between


class GradientNormBalance(nn.Module):
    """Scale the terms so that all their gradients are equally long, whatever their weights.

    Every `every` training calls the gradient of each weighted term with respect to the student's parameters is
    measured; the term's factor becomes the geometric mean of all lengths / its length, smoothed. Every term then pulls
    equally hard. Factors and the number of calls are saved and resumed.

    Args:
        names: the weighted terms.
        every: training calls between measurements, >= 1; each costs one backward pass a term.
        smoothing: share of the old factor that stays, 0 to 1.

    Reference: Chen, Badrinarayanan, Lee, Rabinovich (2018), GradNorm, arXiv:1711.02257.

    Differs: the paper learns the weights by a gradient step towards equal training rates; here the lengths are
        equalised directly, with no further learning rate to tune.
    """

    factors: Tensor

    def __init__(self, names: Sequence[str], *, every: int = 50, smoothing: float = 0.5) -> None:
        super().__init__()
        self.names = list(names)
        self.every = check_whole("every", every)
        self.smoothing = check_between("smoothing", smoothing, 0.0, 1.0)
        self.register_buffer("factors", torch.ones(len(self.names)))
        # a number and no buffer: looking at a buffer would stop a GPU in every step
        self.calls = 0

    def forward(self, weighted: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The balanced total, and each term's factor by name for the log.

        Args:
            weighted: name -> weight * value, with graph.
            parameters: of the student, with respect to which lengths are measured; without any, factors stay.
        """
        if parameters and torch.is_grad_enabled():
            if self.calls % self.every == 0:
                self._measure(weighted, parameters)
            self.calls += 1
        factors = self.factors.unbind()
        total = torch.stack([factors[place] * weighted[name] for place, name in enumerate(self.names)]).sum()
        return total, {name: factors[place] for place, name in enumerate(self.names)}

    def _measure(self, weighted: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> None:
        lengths = []
        for name in self.names:
            gradients = torch.autograd.grad(weighted[name], parameters, retain_graph=True, allow_unused=True)
            squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
            lengths.append(torch.stack(squares).sum().sqrt() if squares else self.factors.new_zeros(()))
        measured = torch.stack(lengths)
        counted = measured > 0
        logs = measured.clamp(min=torch.finfo(measured.dtype).tiny).log()
        mean = (logs * counted).sum() / counted.sum().clamp(min=1)
        fresh = torch.where(counted, (mean - logs).exp(), self.factors)
        kept = self.smoothing if self.calls else 0.0
        self.factors = kept * self.factors + (1 - kept) * fresh

    def get_extra_state(self) -> Tensor:
        """What a checkpoint keeps beside the factors: the number of calls."""
        return torch.tensor(self.calls)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the number of calls from a checkpoint."""
        self.calls = int(state)


class UncertaintyBalance(nn.Module):
    """Learn one log variance s for each term: total = sum of exp(-s) * weight * value + s.

    Args:
        names: the weighted terms.

    Reference: Kendall, Gal, Cipolla (2018), arXiv:1705.07115, eq. 7, with s = log of the variance, without the
        paper's factor 1/2 (it only scales the learning rate).
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        self.log_variances = nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, weighted: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The balanced total, and each term's factor exp(-s) by name for the log; arguments as above."""
        factors = torch.exp(-self.log_variances)
        parts = torch.stack([weighted[name] for name in self.names])
        total = (factors * parts).sum() + self.log_variances.sum()
        return total, dict(zip(self.names, factors.detach().unbind(), strict=True))


BALANCES: Mapping[str, type[GradientNormBalance] | type[UncertaintyBalance]] = {
    "gradient_norm": GradientNormBalance,
    "uncertainty": UncertaintyBalance,
}


def balance_named(name: str, names: Sequence[str]) -> GradientNormBalance | UncertaintyBalance:
    """Build a balance for the given terms.

    Raises:
        ConfigError: if the name is unknown, or there is only one term to balance.
    """
    if not isinstance(name, str) or name not in BALANCES:
        raise ConfigError(f"There is no balance named {name!r}. {nearest(str(name), BALANCES)}")
    if len(names) < 2:
        raise ConfigError(f"Balancing needs at least two weighted terms, got {list(names)}.")
    return BALANCES[name](names)
