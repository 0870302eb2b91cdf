"""What stands behind the transformer of an embedding model: pooling over tokens, linear layers, unit length."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError

PoolingMode = Literal["mean", "cls", "max"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"Identity": nn.Identity, "Tanh": nn.Tanh, "ReLU": nn.ReLU, "GELU": nn.GELU}


def pooled(states: Tensor, mask: Tensor, mode: PoolingMode = "mean") -> Tensor:
    """One vector a text.

    Args:
        states: hidden states, shape [texts, tokens, width].
        mask: shape [texts, tokens], not 0 at tokens that count. A text without any gives zeros, by "max" too.
        mode: "mean" of the tokens that count, "max" of them, or the state at the "cls" token: the first that counts,
            wherever the padding stands.

    Returns:
        Shape [texts, width].

    Example:
        >>> states = torch.tensor([[[1.0], [4.0], [9.0]]])
        >>> pooled(states, torch.tensor([[1, 1, 0]])).tolist()
        [[2.5]]
        >>> pooled(states, torch.tensor([[0, 1, 1]]), "cls").tolist()
        [[4.0]]
    """
    counted = mask.bool()
    if mode == "mean":
        shares = counted.to(states.dtype)
        return (states * shares[..., None]).sum(dim=1) / shares.sum(dim=1, keepdim=True).clamp(min=1)
    if mode == "max":
        highest = states.masked_fill(~counted[..., None], -torch.inf).amax(dim=1)
        return highest.masked_fill(~counted.any(dim=1, keepdim=True), 0.0)
    first = counted.to(torch.int64).argmax(dim=1)
    return states.gather(1, first[:, None, None].expand(-1, 1, states.shape[-1]))[:, 0]


class Pooling(nn.Module):
    """`pooled` as a module.

    Args:
        mode: see there.
        include_prompt: whether sentence-transformers pools a prompt's tokens too; texts here have no prompt, and it is
            kept for what is saved.

    Raises:
        ConfigError: if there is no such mode.
    """

    def __init__(self, mode: PoolingMode, *, include_prompt: bool = True) -> None:
        super().__init__()
        if mode not in get_args(PoolingMode):
            raise ConfigError(
                f"The tokens of a text must be pooled by one of {', '.join(get_args(PoolingMode))}, got {mode!r}: with "
                "another way than the model was trained for its vectors mean nothing."
            )
        self.mode, self.include_prompt = mode, include_prompt

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return pooled(states, mask, self.mode)


class Dense(nn.Module):
    """A linear layer behind the pooling, with an activation, as sentence-transformers' module of this name.

    Args:
        width, dimensions: of vectors before and behind it.
        bias: whether it has one.
        activation: of `ACTIVATIONS`.

    Raises:
        ConfigError: if the activation is none of them.
    """

    def __init__(self, width: int, dimensions: int, *, bias: bool = False, activation: str = "Identity") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError(
                f"The activation of a dense layer must be one of {', '.join(ACTIVATIONS)}, got {activation!r}: others "
                "could be code of whoever wrote the folder, and are not run."
            )
        self.linear = nn.Linear(width, dimensions, bias=bias)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, vectors: Tensor) -> Tensor:
        answer: Tensor = self.activation(self.linear(vectors))
        return answer


class Normalize(nn.Module):
    """Every vector at unit length, so that dot products are cosines; zeros stay zeros."""

    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)
