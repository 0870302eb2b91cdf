"""What transformer, embedding and regression losses refuse, and what they say about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from knowledge_distillation.losses.embeddings.margin_mse import margin_mse
from knowledge_distillation.losses.embeddings.queue_kl import QueueKL, queue_kl
from knowledge_distillation.losses.embeddings.similarity_kl import similarity_kl
from knowledge_distillation.losses.regression.binary_kl import binary_kl
from knowledge_distillation.losses.regression.bounded_regression import bounded_regression
from knowledge_distillation.losses.regression.gaussian_kl import gaussian_kl
from knowledge_distillation.losses.regression.soft_regression import soft_regression
from knowledge_distillation.losses.transformers.attention_mse import attention_mse
from knowledge_distillation.losses.transformers.distilhubert import distilhubert
from knowledge_distillation.losses.transformers.hidden_mse import hidden_mse
from knowledge_distillation.losses.transformers.minilm import minilm
from knowledge_distillation.losses.transformers.minilmv2 import minilmv2
from knowledge_distillation.losses.transformers.patient import patient
from knowledge_distillation.losses.transformers.tinybert import tinybert
from tests.losses.refusals import Refusals, ones, refusals


def encoder(layers: int) -> list[Tensor]:
    return [ones(1, 2, 3)] * (layers + 1) + [ones(1, 4, 2, 2)] * layers


LAYER = [ones(1, 5, 6)] * 3
SHAPES: Refusals = [
    (lambda: hidden_mse(ones(2, 3), ones(2, 4)), "teacher_hidden must have the shape of student_hidden"),
    (lambda: distilhubert(ones(2, 3), ones(2, 4)), "teacher_hidden must have the shape of student_hidden"),
    (lambda: hidden_mse(ones(2, 3), ones(2, 3), mask=ones(3)), "mask must match the leading axes"),
    (lambda: attention_mse(ones(2, 4, 4), ones(2, 4, 4)), r"\[N, heads, queries, keys\].*unsqueeze\(1\)"),
    (lambda: attention_mse(ones(2, 1, 4, 5), ones(2, 1, 4, 5), mask=ones(2, 4)), "leave it out for cross-attention"),
    (lambda: attention_mse(ones(2, 1, 4, 4), ones(2, 1, 4, 4), mask=ones(2, 3)), "a token mask must have shape"),
    (lambda: minilm(LAYER[:2], LAYER), "student must be the queries, keys and values"),
    (lambda: minilmv2(LAYER, [ones(1, 2, 5, 3)] * 3), "teacher must be the queries.*Join the heads"),
    (lambda: minilm(LAYER, LAYER, heads=4), "heads or relation_heads, must divide the width .* got 4"),
    (lambda: tinybert([ones(1, 2, 3)] * 3, encoder(1)), r"student must be M \+ 1 hidden states"),
    (lambda: tinybert(encoder(1), encoder(1)[:2]), r"teacher must be M \+ 1 hidden states"),
    (lambda: tinybert(encoder(1)[:1], encoder(1)), r"student must be M \+ 1 hidden states"),
    (lambda: patient([ones(2, 3)] * 2, ones(2, 3)), "as many layers, got 2 and 1"),
    (lambda: patient(ones(3), ones(3)), r"\[N, L, width\] or \[N, width\]"),
    (lambda: margin_mse(ones(2, 1), ones(2, 1)), "a margin needs at least one negative"),
    (lambda: similarity_kl(ones(2, 3), ones(3, 3)), "with the same N"),
    (lambda: similarity_kl(ones(2, 4, 3), ones(2, 4, 3)), "Pool over tokens first"),
    (lambda: queue_kl(ones(2, 3), ones(2, 3), queue=ones(4, 5)), "Put a projector on the student"),
    (lambda: soft_regression(ones(3), ones(3)), r"Add it with unsqueeze\(-1\)"),
    (lambda: bounded_regression(ones(3, 1), ones(3, 1), labels=ones(3)), "labels must have the predictions' shape"),
    (lambda: gaussian_kl(ones(3, 1), [ones(3, 1)]), "teacher must be two tensors"),
    (lambda: gaussian_kl([ones(3, 1), ones(3, 2)], [ones(3, 1)] * 2), "student must be two tensors"),
    (lambda: binary_kl(ones(3, 2), ones(3, 2), class_mask=ones(3)), r"class_mask must have shape \(2,\) or \(3, 2\)"),
    (lambda: binary_kl(ones(3, 2), ones(3, 2), mask=ones(2)), r"mask must have shape \(3,\), got \(2,\)"),
]
SETTINGS: Refusals = [
    (lambda: distilhubert(ones(2, 3), ones(2, 3), cosine_weight=-1.0), "cosine_weight must be"),
    (lambda: minilm(LAYER, LAYER, heads=0), "heads must be a whole number of at least 1"),
    (lambda: minilmv2(LAYER, LAYER, relation_heads=1.5), "relation_heads must be a whole number of at least 1"),
    (lambda: minilmv2(LAYER, LAYER, relation_heads=1, weights=(1, 2)), "weights must be three finite numbers"),
    (lambda: minilmv2(LAYER, LAYER, relation_heads=1, weights=(1, 2, -1)), "weights must be three finite numbers"),
    (lambda: minilmv2(LAYER, LAYER, relation_heads=1, weights=(1, 2, float("inf"))), "weights must be three finite"),
    (lambda: tinybert(encoder(2), encoder(3)), "2 student layers do not divide 3 teacher layers"),
    (lambda: tinybert(encoder(2), encoder(3), layers=(1,)), "one teacher layer from 1 to 3 for each of 2"),
    (lambda: tinybert(encoder(2), encoder(3), layers=(0, 3)), "one teacher layer from 1 to 3"),
    (lambda: tinybert(encoder(2), encoder(3), layers=(1, 4)), "one teacher layer from 1 to 3"),
    (lambda: QueueKL(0), "width and size must be whole numbers above 0"),
    (lambda: QueueKL(3, size=0), "width and size must be whole numbers above 0"),
    (lambda: queue_kl(ones(2, 3), ones(2, 3), queue=ones(4, 3), teacher_temperature=0.0), "teacher_temperature must"),
    (lambda: similarity_kl(ones(2, 3), ones(2, 3), temperature=-1.0), "temperature must"),
    (lambda: soft_regression(ones(3, 1), ones(3, 1), penalty="l1"), "penalty must be 'squared' or 'huber', got 'l1'"),
    (lambda: soft_regression(ones(3, 1), ones(3, 1), penalty="huber", delta=0.0), "delta must"),
    (lambda: bounded_regression(ones(3, 1), ones(3, 1), labels=None), "labels are needed"),
    (lambda: bounded_regression(ones(3, 1), ones(3, 1), labels=ones(3, 1), margin=-1.0), "margin must"),
]


@pytest.mark.parametrize(("error", "call", "message"), refusals(shapes=SHAPES, settings=SETTINGS))
def test_refusals(error: type[Exception], call: Callable[[], object], message: str) -> None:
    """A shape that broadcasts by accident, or a setting out of range, would train the wrong thing for hours."""
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_uniform_layers_end_at_the_last(layers: int) -> None:
    """The paper's mapping g(m) = m * K / M: the last student layer learns from the last teacher layer."""
    teacher = [torch.full((1, 2, 3), float(index)) for index in range(5)] + [torch.zeros(1, 4, 2, 2)] * 4
    step = 4 // layers
    student = [torch.full((1, 2, 3), float(index * step)) for index in range(layers + 1)]
    student += [torch.zeros(1, 4, 2, 2)] * layers
    assert tinybert(student, teacher).item() == 0
