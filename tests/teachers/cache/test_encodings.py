"""What goes wrong for a user when what is read from a cache is not what the teacher said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from knowledge_distillation.errors import ConfigError, NonFiniteError
from knowledge_distillation.losses import TopK, sampled_cross_entropy
from knowledge_distillation.teachers.cache import encoding_from
from knowledge_distillation.teachers.cache.bits import IdSet, from_bits, pack, to_bits, unpack
from knowledge_distillation.teachers.cache.encodings import described


def scores(rows: int, classes: int, seed: int = 0, scale: float = 2.5) -> torch.Tensor:
    return scale * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def through(spec: Any, values: torch.Tensor) -> tuple[Any, int]:
    """What comes back, and the bytes an item."""
    encoding = encoding_from(spec)
    arrays = encoding.encode(values, torch.Generator().manual_seed(0))
    size = sum(array.numel() * array.element_size() for array in arrays.values())
    return encoding.decode(arrays, values.shape[-1]), size // len(values)


def test_the_likeliest_64_of_128k_are_exact_in_256_bytes() -> None:
    """A word more a token, and a cache of a billion tokens grows by gigabytes; a wrong id teaches another word."""
    values = scores(64, 128_256)
    said, size = through({"name": "top_k", "k": 64}, values)
    exact = log_softmax(values.double().numpy(), axis=-1)
    best = np.argsort(-exact, axis=-1)[:, :64]
    assert size <= 256
    assert np.array_equal(np.sort(said.indices.numpy(), -1), np.sort(best, -1))
    error = said.log_probs.double().numpy() - np.take_along_axis(exact, said.indices.numpy(), -1)
    assert np.abs(error).max() <= 5e-4 + 1e-6


def test_the_compact_form_takes_110_bytes_for_50_of_128k() -> None:
    """The page promises this size."""
    values = scores(64, 128_256)
    said, size = through({"name": "compact_top_k", "k": 50}, values)
    exact = log_softmax(values.double().numpy(), axis=-1)
    assert size <= 110
    assert np.array_equal(np.sort(said.indices.numpy(), -1), np.sort(np.argsort(-exact, axis=-1)[:, :50], -1))
    known = np.take_along_axis(exact, said.indices.numpy(), -1)
    spread = known.max(-1, keepdims=True) - known.min(-1, keepdims=True)
    assert np.all(np.abs(said.log_probs.numpy() - known) <= spread / 15 + 32 / 255 + 0.05)
    masses = np.exp(said.log_probs.double().numpy()).sum(-1) + np.exp(said.log_tail.double().numpy())
    np.testing.assert_allclose(masses, 1.0, atol=1e-5)
    true_tail = 1 - np.exp(known).sum(-1)
    np.testing.assert_allclose(np.exp(said.log_tail.numpy()), true_tail, rtol=0.05)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 3000), st.integers(1, 80), st.integers(0, 2**16), st.sampled_from([0.1, 3.0, 30.0]))
def test_any_number_of_classes_keeps_its_ids(classes: int, k: int, seed: int, scale: float) -> None:
    """A vocabulary at the edge of a power of two is where bits are lost."""
    values = scores(3, classes, seed, scale)
    best = values.log_softmax(-1).topk(min(k, classes), dim=-1)
    for name in ("top_k", "compact_top_k"):
        said, _ = through({"name": name, "k": k}, values)
        kept = values.log_softmax(-1).gather(-1, said.indices.long()).sort(-1).values
        torch.testing.assert_close(kept, best.values.sort(-1).values, rtol=0, atol=0)
        assert isinstance(said, TopK)
        assert bool(torch.isfinite(said.log_probs).all())


@pytest.mark.parametrize("classes", [2, 255, 256, 257, 65_535, 65_536, 65_537, 131_072, 131_073, 262_144])
def test_the_last_class_of_a_vocabulary_survives(classes: int) -> None:
    """The highest id needs every bit that was left for ids."""
    values = torch.full((1, classes), -30.0)
    values[0, -1] = 3.0
    values[0, 0] = 2.0
    for name in ("top_k", "compact_top_k"):
        said, _ = through({"name": name, "k": 2}, values)
        assert sorted(said.indices[0].tolist()) == [0, classes - 1]
        at = said.indices[0].tolist().index(classes - 1)
        assert float(said.log_probs[0, at]) == pytest.approx(-math.log1p(math.exp(-1)), abs=0.08)


def test_a_class_that_cannot_be_stays_impossible() -> None:
    """Masked classes at -inf must not come back as merely unlikely."""
    values = torch.tensor([[1.0, -torch.inf, 0.0, -torch.inf]])
    said, _ = through({"name": "top_k", "k": 4}, values)
    back = torch.full((4,), 0.0).scatter(0, said.indices[0].long(), said.log_probs[0])
    assert float(back[[1, 3]].exp().sum()) < 1e-13
    assert float(back[0]) == pytest.approx(-math.log1p(math.exp(-1)), abs=1e-3)


def test_draws_teach_the_full_teacher_on_average() -> None:
    """Otherwise the student of a sampled cache learns another distribution. To 5 standard errors."""
    teacher, student = scores(1, 20, 1), scores(1, 20, 2)
    encoding = encoding_from({"name": "sampled", "draws": 12})
    generator = torch.Generator().manual_seed(3)
    drawn = encoding.encode(teacher.expand(4000, -1), generator)
    values = sampled_cross_entropy(student.expand(4000, -1), encoding.decode(drawn, 20), reduction="none")
    exact = -(np.exp(log_softmax(teacher.double().numpy())) * log_softmax(student.double().numpy())).sum()
    standard_error = float(values.std()) / math.sqrt(4000)
    assert abs(float(values.mean()) - exact) < 5 * standard_error


def test_int8_features_are_within_half_a_step_of_their_channels_range() -> None:
    """A scale over all channels would flatten the quiet ones to zero."""
    values = scores(5, 6)[:, :, None, None] * torch.rand(5, 6, 4, 4) * torch.logspace(-3, 3, 6)[:, None, None]
    said, _ = through("int8", values)
    step = values.abs().amax(dim=(2, 3), keepdim=True) / 127
    assert bool(((said - values).abs() <= 0.501 * step + 1e-9).all())


def test_float16_that_would_overflow_is_refused() -> None:
    """Logits of 1e5 would come back as infinite and the loss as NaN."""
    with pytest.raises(NonFiniteError, match="bfloat16"):
        through("float16", torch.tensor([[1e5, 0.0]]))
    assert float(through("bfloat16", torch.tensor([[1e5, 0.0]]))[0][0, 0]) == pytest.approx(1e5, rel=0.01)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("float8", "no encoding 'float8'"),
        ({"name": "top_k", "n": 3}, "no setting 'n'"),
        ({"name": "top_k", "k": 0}, "at least 1"),
        ({"name": "sampled", "temperature": 0}, "temperature"),
    ],
)
def test_a_wrong_encoding_is_named(spec: Any, message: str) -> None:
    """Otherwise hours of a teacher's time go into a cache that is not what was asked."""
    with pytest.raises(ConfigError, match=message):
        encoding_from(spec)


@pytest.mark.parametrize(
    "spec", ["float32", "int8", {"name": "compact_top_k", "k": 7}, {"name": "sampled", "draws": 3}]
)
def test_a_manifest_gives_the_encoding_back(spec: Any) -> None:
    """Otherwise a cache is read with other settings than it was written with."""
    assert encoding_from(described(encoding_from(spec))) == encoding_from(spec)


@given(st.lists(st.lists(st.integers(0, 2**9 - 1), min_size=5, max_size=5), min_size=1, max_size=4))
def test_bits_come_back(rows: list[list[int]]) -> None:
    """One bit off, and every id behind it is another."""
    numbers = torch.tensor(rows)
    assert torch.equal(from_bits(unpack(pack(to_bits(numbers, 9)), 45), 9), numbers)


@settings(deadline=None)
@given(st.integers(1, 5000), st.data())
def test_sets_of_ids_come_back(bound: int, data: st.DataObject) -> None:
    """The code of a set is packed to the last bit."""
    ids = sorted(data.draw(st.sets(st.integers(0, bound - 1), min_size=1, max_size=min(40, bound))))
    code = IdSet(bound, len(ids))
    bits = code.encode(torch.tensor([ids]))
    assert bits.shape[-1] == code.bits
    assert code.decode(bits)[0].tolist() == ids
