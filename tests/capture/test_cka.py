"""What goes wrong when similarity is measured wrongly. Oracle: the papers' formulas in NumPy, element by element."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from knowledge_distillation.capture.cka import MinibatchCKA, gram, unbiased_hsic
from knowledge_distillation.errors import ShapeError

Array = npt.NDArray[np.float64]


def hsic_by_counting(k: Array, l: Array) -> float:  # noqa: E741
    """The U-statistic from its definition: averages over tuples of different examples."""
    n = len(k)
    pairs = [k[i, j] * l[i, j] for i, j in itertools.permutations(range(n), 2)]
    triples = [k[i, j] * l[i, q] for i, j, q in itertools.permutations(range(n), 3)]
    fours = [k[i, j] * l[q, r] for i, j, q, r in itertools.permutations(range(n), 4)]
    return float(np.mean(pairs) - 2 * np.mean(triples) + np.mean(fours))


def cka_in_numpy(batches: list[tuple[Array, Array]]) -> float:
    sums = np.zeros(3)
    for left, right in batches:
        k, l = left @ left.T, right @ right.T  # noqa: E741
        sums += [hsic_by_counting(k, l), hsic_by_counting(k, k), hsic_by_counting(l, l)]
    return float(sums[0] / math.sqrt(sums[1] * sums[2]))


@pytest.fixture
def batches() -> list[tuple[Array, Array]]:
    generator = np.random.default_rng(0)
    made = []
    for _ in range(3):
        left = generator.normal(size=(7, 5)) + 3
        made.append((left, left @ generator.normal(size=(5, 4)) + generator.normal(size=(7, 4))))
    return made


def test_unbiased_hsic_equals_its_definition(batches: list[tuple[Array, Array]]) -> None:
    for left, right in batches:
        found = unbiased_hsic(gram(torch.from_numpy(left)), gram(torch.from_numpy(right)))
        assert float(found) == pytest.approx(hsic_by_counting(left @ left.T, right @ right.T), rel=1e-9)


def test_minibatch_cka_equals_numpy(batches: list[tuple[Array, Array]]) -> None:
    cka = MinibatchCKA()
    for left, right in batches:
        cka.add(gram(torch.from_numpy(left)), gram(torch.from_numpy(right)))
    assert cka.value() == pytest.approx(cka_in_numpy(batches), rel=1e-9)


def test_rotation_scale_and_shift_of_a_feature_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 6, dtype=torch.float64, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator))
    cka = MinibatchCKA()
    cka.add(gram(features), gram(features @ turn * 5 + 100))
    assert cka.value() == pytest.approx(1.0, abs=1e-9)


def test_a_large_common_offset_does_not_eat_the_digits_of_float32() -> None:
    features = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    exact, shifted = MinibatchCKA(), MinibatchCKA()
    exact.add(gram(features.double()), gram(features.double() ** 3))
    shifted.add(gram(features + 1000), gram((features.double() ** 3).float() + 1000))
    assert shifted.value() == pytest.approx(exact.value(), abs=1e-3)


def test_independent_features_of_small_batches_give_about_nothing() -> None:
    """The usual, biased estimate is far above 0 for 8 examples, so that every layer would look alike."""
    generator = torch.Generator().manual_seed(0)
    pairs = [[gram(torch.randn(8, 8, generator=generator)) for _ in range(2)] for _ in range(300)]
    cka = MinibatchCKA()
    for left, right in pairs:
        cka.add(left, right)
    biased = [float((left * right).sum() / (left.norm() * right.norm())) for left, right in pairs]
    assert abs(cka.value()) < 0.1 < 0.4 < np.mean(biased)


def test_what_has_no_similarity_is_nan_not_a_number_to_trust() -> None:
    assert math.isnan(MinibatchCKA().value())
    constant = MinibatchCKA()
    constant.add(gram(torch.ones(5, 3)), gram(torch.randn(5, 3)))
    assert math.isnan(constant.value())


@pytest.mark.parametrize("shapes", [((3, 2), (3, 2)), ((5, 2), (6, 2))])
def test_too_few_or_different_examples_are_refused(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    left, right = (gram(torch.randn(shape)) for shape in shapes)
    with pytest.raises(ShapeError, match="larger batch"):
        unbiased_hsic(left, right)
