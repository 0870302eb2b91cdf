"""Cases of the losses from hidden states and attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import rel_entr, softmax
from torch import Tensor

from knowledge_distillation.losses.transformers.attention_kl import (
    AttentionKL,
    AttentionKLFromProbs,
    attention_kl,
    attention_kl_from_probs,
)
from knowledge_distillation.losses.transformers.attention_mse import (
    AttentionMSE,
    attention_mse,
)
from knowledge_distillation.losses.transformers.tinybert import TinyBERT, tinybert
from tests.laws.case import Case, Inputs

LENGTH, HEADS = 4, 3
Array = NDArray[np.float64]


def normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def heads_first(signal: Tensor) -> Tensor:
    """The laws want the items (sample, query) on the leading axes; attention has its heads in between."""
    return signal.transpose(1, 2) if signal.dim() == 4 else signal


def all_heads_first(signals: list[Tensor]) -> list[Tensor]:
    return [heads_first(signal) for signal in signals]


class QueryFirstMSE(AttentionMSE):
    def forward(self, student: Tensor, teacher: Tensor, **keywords: Any) -> Tensor:
        return super().forward(heads_first(student), heads_first(teacher), **keywords)


class QueryFirstKL(AttentionKL):
    def forward(self, student: Tensor, teacher: Tensor, **keywords: Any) -> Tensor:
        return super().forward(heads_first(student), heads_first(teacher), **keywords)


class QueryFirstKLFromProbs(AttentionKLFromProbs):
    def forward(self, student: Tensor, teacher: Tensor, **keywords: Any) -> Tensor:
        return super().forward(heads_first(student), heads_first(teacher), **keywords)


class QueryFirstTinyBERT(TinyBERT):
    def forward(self, student: list[Tensor], teacher: list[Tensor], **keywords: Any) -> Tensor:
        return super().forward(all_heads_first(student), all_heads_first(teacher), **keywords)


def call_mse(inputs: Inputs, module: Any, settings: Mapping[str, Any], **keywords: Any) -> Tensor:
    return attention_mse(heads_first(inputs.student), heads_first(inputs.teacher), **settings, **keywords)


def call_kl(inputs: Inputs, module: Any, settings: Mapping[str, Any], **keywords: Any) -> Tensor:
    return attention_kl(heads_first(inputs.student), heads_first(inputs.teacher), **settings, **keywords)


def call_kl_from_probs(inputs: Inputs, module: Any, settings: Mapping[str, Any], **keywords: Any) -> Tensor:
    return attention_kl_from_probs(heads_first(inputs.student), heads_first(inputs.teacher), **settings, **keywords)


def call_tinybert(inputs: Inputs, module: Any, settings: Mapping[str, Any], **keywords: Any) -> Tensor:
    return tinybert(
        all_heads_first(inputs.student),
        all_heads_first(inputs.teacher),
        projection=module.projection.weight,
        layers=settings.get("layers"),
        **keywords,
    )


def hidden(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=normal(generator, batch, LENGTH, 6), teacher=normal(generator, batch, LENGTH, 6))


def sentences(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=normal(generator, batch, 6), teacher=normal(generator, batch, 6))


def scores(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = (normal(generator, batch, LENGTH, HEADS, LENGTH, scale=2.0) for _ in range(2))
    return Inputs(student=student, teacher=teacher)


def causal_scores(generator: torch.Generator, batch: int) -> Inputs:
    """What a decoder's additive mask leaves: about -10000 wherever the key lies after the query."""
    plain = scores(generator, batch)
    blocked = torch.ones(LENGTH, LENGTH).triu(1).bool().unsqueeze(1)
    return Inputs(student=plain.student - 1e4 * blocked, teacher=plain.teacher - 1e4 * blocked)


def probabilities(generator: torch.Generator, batch: int) -> Inputs:
    """Never so near 0 that a step of the finite differences would be large beside it."""
    plain = scores(generator, batch)
    return Inputs(student=(plain.student / 4).softmax(-1), teacher=(plain.teacher / 4).softmax(-1))


def last_layer(student_width: int) -> Any:
    def inputs(generator: torch.Generator, batch: int) -> Inputs:
        student = [normal(generator, batch, LENGTH, student_width) for _ in range(3)]
        return Inputs(student=student, teacher=[normal(generator, batch, LENGTH, 12) for _ in range(3)])

    return inputs


def encoder(layers: int, width: int, generator: torch.Generator, batch: int) -> list[Tensor]:
    states = [normal(generator, batch, LENGTH, width) for _ in range(layers + 1)]
    return states + [normal(generator, batch, LENGTH, HEADS, LENGTH) for _ in range(layers)]


def encoders(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=encoder(2, 4, generator, batch), teacher=encoder(4, 6, generator, batch))


def layers_with_cls(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = ([normal(generator, batch, LENGTH, 5) for _ in range(2)] for _ in range(2))
    return Inputs(student=student, teacher=teacher)


def mse_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = inputs.student.numpy(), inputs.teacher.numpy()
    tokens = zip(student.reshape(-1, student.shape[-1]), teacher.reshape(-1, teacher.shape[-1]), strict=True)
    return float(np.mean([np.dot(s - t, s - t) / len(s) for s, t in tokens]))


def distilhubert_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    weight, total = settings.get("cosine_weight", 1.0), []
    frames = (side.numpy().reshape(-1, side.shape[-1]) for side in (inputs.student, inputs.teacher))
    for s, t in zip(*frames, strict=True):
        cosine = float(s @ t) / math.sqrt(float(s @ s) * float(t @ t))
        total.append(float(np.abs(s - t).mean()) + weight * math.log1p(math.exp(-cosine)))
    return float(np.mean(total))


def attention_mse_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    pairs = zip(inputs.student.flatten().tolist(), inputs.teacher.flatten().tolist(), strict=True)
    return sum(0.0 if max(s, t) < -5000 else (s - t) ** 2 for s, t in pairs) / inputs.student.numel()


def attention_kl_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    teacher, student = softmax(inputs.teacher.numpy(), axis=-1), softmax(inputs.student.numpy(), axis=-1)
    return float(rel_entr(teacher, student).sum(-1).mean())


def attention_kl_from_probs_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return float(rel_entr(inputs.teacher.numpy(), inputs.student.numpy()).sum(-1).mean())


def relation(left: Array, right: Array, heads: int) -> Array:
    """Attention of `left` to `right`, one head and one query at a time, shape [heads, L, L]."""
    size = left.shape[-1] // heads
    found = np.empty((heads, len(left), len(right)))
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for query in range(len(left)):
            found[head, query] = softmax([left[query, own] @ key[own] / math.sqrt(size) for key in right])
    return found


def relations_oracle(inputs: Inputs, heads: int, weighted: list[tuple[int, int, float]]) -> float:
    """The papers' mean over one sequence, averaged over the batch: all sequences are equally long here."""
    total = 0.0
    batch = len(inputs.student[0])
    for sample in range(batch):
        student = [part[sample].numpy() for part in inputs.student]
        teacher = [part[sample].numpy() for part in inputs.teacher]
        for left, right, weight in weighted:
            theirs, ours = (
                relation(teacher[left], teacher[right], heads),
                relation(student[left], student[right], heads),
            )
            total += weight * float(rel_entr(theirs, ours).sum()) / (heads * LENGTH)
    return total / batch


def minilm_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return relations_oracle(inputs, settings["heads"], [(0, 1, 1.0), (2, 2, 1.0)])


def minilmv2_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    weights = settings.get("weights", [1 / 3] * 3)
    return relations_oracle(inputs, settings["relation_heads"], [(part, part, weights[part]) for part in range(3)])


def tinybert_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    matrix = settings["module"].projection.weight.detach().numpy().T
    student, teacher = ([part.numpy() for part in side] for side in (inputs.student, inputs.teacher))
    total = np.mean((student[0] @ matrix - teacher[0]) ** 2)
    for layer, mapped in enumerate(settings.get("layers") or (2, 4), start=1):
        total += np.mean((student[layer] @ matrix - teacher[mapped]) ** 2)
        total += np.mean((student[2 + layer] - teacher[4 + mapped]) ** 2)
    return float(total)


def patient_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    """Between unit vectors, the squared distance is 2 - 2 cos."""
    student = inputs.student if isinstance(inputs.student, list) else [inputs.student]
    teacher = inputs.teacher if isinstance(inputs.teacher, list) else [inputs.teacher]
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        for s, t in zip(ours.numpy(), theirs.numpy(), strict=True):
            s, t = (s[0], t[0]) if s.ndim == 2 else (s, t)
            total += 2 - 2 * float(s @ t) / math.sqrt(float(s @ s) * float(t @ t))
    return total / len(student[0])


CASES = [
    Case(name="hidden_mse", inputs=hidden, oracle=mse_oracle, item_axes=2),
    Case(name="hidden_mse", inputs=sentences, oracle=mse_oracle, label="sentences"),
    Case(name="distilhubert", inputs=hidden, oracle=distilhubert_oracle, item_axes=2),
    Case(
        name="distilhubert",
        inputs=hidden,
        oracle=distilhubert_oracle,
        item_axes=2,
        settings={"cosine_weight": 0.5},
        label="half the direction",
    ),
    Case(
        name="attention_mse",
        inputs=scores,
        oracle=attention_mse_oracle,
        module=QueryFirstMSE,
        call=call_mse,
        item_axes=2,
    ),
    Case(
        name="attention_mse",
        inputs=causal_scores,
        oracle=attention_mse_oracle,
        module=QueryFirstMSE,
        call=call_mse,
        item_axes=2,
        label="causal",
    ),
    Case(
        name="attention_kl",
        inputs=scores,
        oracle=attention_kl_oracle,
        module=QueryFirstKL,
        call=call_kl,
        item_axes=2,
    ),
    Case(
        name="attention_kl",
        inputs=causal_scores,
        oracle=attention_kl_oracle,
        module=QueryFirstKL,
        call=call_kl,
        item_axes=2,
        label="causal",
    ),
    Case(
        name="attention_kl_from_probs",
        inputs=probabilities,
        oracle=attention_kl_from_probs_oracle,
        module=QueryFirstKLFromProbs,
        call=call_kl_from_probs,
        item_axes=2,
    ),
    Case(name="minilm", inputs=last_layer(12), oracle=minilm_oracle, settings={"heads": 3}, item_axes=2),
    Case(
        name="minilm",
        inputs=last_layer(6),
        oracle=minilm_oracle,
        settings={"heads": 3},
        item_axes=2,
        label="narrow",
    ),
    Case(name="minilmv2", inputs=last_layer(12), oracle=minilmv2_oracle, settings={"relation_heads": 4}, item_axes=2),
    Case(
        name="minilmv2",
        inputs=last_layer(8),
        oracle=minilmv2_oracle,
        settings={"relation_heads": 2, "weights": (0.5, 0.0, 2.0)},
        item_axes=2,
        label="weighted",
    ),
    Case(
        name="tinybert",
        inputs=encoders,
        oracle=tinybert_oracle,
        module=lambda **settings: QueryFirstTinyBERT(4, 6, **settings),
        call=call_tinybert,
        item_axes=2,
    ),
    Case(
        name="tinybert",
        inputs=encoders,
        oracle=tinybert_oracle,
        settings={"layers": (3, 1)},
        module=lambda **settings: QueryFirstTinyBERT(4, 6, **settings),
        call=call_tinybert,
        item_axes=2,
        label="layers",
    ),
    Case(name="patient", inputs=layers_with_cls, oracle=patient_oracle),
    Case(name="patient", inputs=sentences, oracle=patient_oracle, label="vectors"),
]
