"""Attention modules of a transformer: which linear layers make the heads, and what counts the heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

TOGETHER = ("qkv", "Wqkv", "query_key_value")
APART = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"),
    ("q", "k", "v"),
)
HEADS = ("num_attention_heads", "num_heads", "n_heads", "num_key_value_heads")
WIDTHS = ("all_head_size", "attn_dim", "inner_dim")
"""Attributes that hold heads times the width of a head."""


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention module.

    Attributes:
        module: with the attributes that count heads.
        projections: the linear layers that give queries, keys and values, as one or as three.
        heads: how many; 0 where it is not known or keys have fewer heads than queries.
    """

    module: nn.Module
    projections: tuple[nn.Linear, ...]
    heads: int

    def narrowed(self, heads: int) -> None:
        """Let the module count the heads that are left."""
        for name in HEADS:
            if vars(self.module).get(name) == self.heads:
                setattr(self.module, name, heads)
        width = self.projections[0].out_features * len(self.projections) // 3
        for name in WIDTHS:
            if name in vars(self.module):
                setattr(self.module, name, width)


def attentions(model: nn.Module) -> Iterator[Attention]:
    """Every attention module whose projections have one of the usual names, `nn.MultiheadAttention` excepted."""
    for module in model.modules():
        parts = dict(module.named_children())
        for names in (*((name,) for name in TOGETHER), *APART):
            layers = tuple(part for name in names if isinstance(part := parts.get(name), nn.Linear))
            if len(layers) == len(names):
                yield Attention(module, layers, _heads(module, layers))
                break


def _heads(module: nn.Module, layers: tuple[nn.Linear, ...]) -> int:
    if len({layer.out_features for layer in layers}) > 1:
        return 0  # fewer heads of keys than of queries: each serves several
    width = layers[0].out_features * len(layers) // 3 if len(layers) == 1 else layers[0].out_features
    said = next((number for name in HEADS if isinstance(number := vars(module).get(name), int)), 0)
    head = vars(module).get("head_dim")
    found = said or (width // head if isinstance(head, int) and head > 0 else 0)
    return found if found > 0 and width % found == 0 else 0
