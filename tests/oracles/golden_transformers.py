"""Golden vectors of the losses from hidden states and attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from knowledge_distillation.losses.logits.cosine import cosine
from knowledge_distillation.losses.transformers.attention_kl import attention_kl
from knowledge_distillation.losses.transformers.attention_mse import attention_mse
from knowledge_distillation.losses.transformers.hidden_mse import hidden_mse
from knowledge_distillation.losses.transformers.minilmv2 import minilmv2
from knowledge_distillation.losses.transformers.patient import patient

if TYPE_CHECKING:
    from tests.oracles.golden import Entry

QUIRK_THRESHOLD = -1e-3


def mask_of(entry: Entry) -> Tensor | None:
    mask = entry.tensors.get("mask")
    return None if mask is None else mask.bool()


def with_heads(attention: Tensor) -> Tensor:
    return attention if attention.dim() == 4 else attention.unsqueeze(1)


def over_token_pairs(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """TextBrewer's mean is over pairs of tokens: a query weighs as much as its sequence is long."""
    values = attention_mse(student, teacher, mask=mask, reduction="none")
    if mask is None:
        return values.mean()
    lengths = mask.sum(dim=-1, keepdim=True)
    return (values * lengths).sum() / lengths.square().sum()


def textbrewer_attention(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Without a mask, TextBrewer sets scores at or below -1e-3 to 0 before anything else."""
    if mask is None:
        student = student.masked_fill(student <= QUIRK_THRESHOLD, 0.0)
        teacher = teacher.masked_fill(teacher <= QUIRK_THRESHOLD, 0.0)
    return over_token_pairs(with_heads(student), with_heads(teacher), mask)


def attention_each_head(entry: Entry) -> Tensor:
    return textbrewer_attention(entry.tensors["s0"], entry.tensors["t0"], mask_of(entry))


def attention_summed_heads(entry: Entry) -> Tensor:
    student, teacher = (with_heads(entry.tensors[name]).sum(dim=1) for name in ("s0", "t0"))
    return textbrewer_attention(student, teacher, mask_of(entry))


def attention_divergence(entry: Entry) -> Tensor:
    student, teacher = (with_heads(entry.tensors[name]) for name in ("s0", "t0"))
    return attention_kl(student, teacher, mask=mask_of(entry))


def mean_attention_divergence(entry: Entry) -> Tensor:
    student, teacher = (with_heads(entry.tensors[name]).mean(dim=1, keepdim=True) for name in ("s0", "t0"))
    return attention_kl(student, teacher, mask=mask_of(entry))


def hidden(entry: Entry) -> Tensor:
    return hidden_mse(entry.tensors["s0"], entry.tensors["t0"], mask=mask_of(entry))


def hidden_direction(entry: Entry) -> Tensor:
    return cosine(entry.tensors["s0"], entry.tensors["t0"], mask=mask_of(entry))


def first_token(entry: Entry) -> Tensor:
    return patient(entry.tensors["s0"], entry.tensors["t0"])


def token_gram(entry: Entry) -> Tensor:
    """The flow between two layers over the tokens of a sequence: a matrix a sample, compared number by number."""
    first = entry.tensors["s0"]
    counted = torch.ones(first.shape[:2], dtype=torch.bool) if mask_of(entry) is None else mask_of(entry)
    keep = counted.unsqueeze(-1).to(first.dtype)
    lengths = keep.sum(dim=1, keepdim=True)
    student, teacher = (
        ((entry.tensors[left] * keep).transpose(1, 2) @ (entry.tensors[right] * keep) / lengths).flatten(1)
        for left, right in (("s0", "s1"), ("t0", "t1"))
    )
    return hidden_mse(student, teacher)


def token_relations(entry: Entry) -> Tensor:
    student, teacher = (
        (entry.tensors[left] @ entry.tensors[right].transpose(1, 2) / entry.tensors[left].shape[-1]).unsqueeze(1)
        for left, right in (("s0", "s1"), ("t0", "t1"))
    )
    return over_token_pairs(student, teacher, mask_of(entry))


def minilm_relation(entry: Entry) -> Tensor:
    """The reference averages each sequence first; ours gives the values to do so."""
    mask = entry.tensors["attention_mask"].bool()
    values = minilmv2(
        [entry.tensors[name] for name in ("s_q", "s_k", "s_v")],
        [entry.tensors[name] for name in ("t_q", "t_k", "t_v")],
        relation_heads=entry.hyperparameters["relation_heads"],
        weights=entry.hyperparameters["weights_q_k_v"],
        mask=mask,
        reduction="none",
    )
    return (values.sum(dim=-1) / mask.sum(dim=-1)).mean()


def layer_pairs(entry: Entry) -> list[tuple[Tensor, Tensor]]:
    layers = range(entry.hyperparameters["layers"])
    return [(entry.tensors[f"s{layer}"], entry.tensors[f"t{layer}"]) for layer in layers]


def hidden_layers(entry: Entry) -> Tensor:
    pairs = [hidden_mse(student, teacher, mask=mask_of(entry)) for student, teacher in layer_pairs(entry)]
    return torch.stack(pairs).mean()


def hidden_layer_directions(entry: Entry) -> Tensor:
    pairs = [cosine(student, teacher, mask=mask_of(entry)) for student, teacher in layer_pairs(entry)]
    return torch.stack(pairs).mean()


RUNNERS = {
    "tb_attention_mse": attention_each_head,
    "tb_attention_mse_sum": attention_summed_heads,
    "tb_hidden_mse": hidden,
    "tb_cos": hidden_direction,
    "tb_pkd": first_token,
    "tb_fsp": token_gram,
    "tb_nst": token_relations,
    "minilm_relation": minilm_relation,
    "hidden_mse__distillkit": hidden_layers,
    "hidden_cosine__distillkit": hidden_layer_directions,
}

CROSS_ENTROPY = (
    "a cross-entropy, not 0 where both attend alike; padded keys stay in the softmax, and without a mask "
    "negative teacher scores lose their probability"
)
FAULTS = {
    "tb_attention_ce": (attention_divergence, CROSS_ENTROPY),
    "tb_attention_ce_mean": (mean_attention_divergence, CROSS_ENTROPY),
}
