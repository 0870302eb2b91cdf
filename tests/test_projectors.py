"""What goes wrong for a user when unequal features are made comparable in the wrong way."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from knowledge_distillation import projectors
from knowledge_distillation.errors import ConfigError, ShapeError

size = st.integers(1, 6)
feature_shapes = st.one_of(
    st.tuples(size),
    st.tuples(st.integers(1, 30), size),
    st.tuples(size, st.integers(1, 9), st.integers(1, 9)),
)


@settings(max_examples=150)
@given(student=feature_shapes, teacher=feature_shapes)
def test_auto_gives_the_shape_of_its_target_and_trains_on_any_pair_it_accepts(
    student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    ours, theirs = torch.randn(3, *student, requires_grad=True), torch.randn(3, *teacher)
    try:
        projector = projectors.build("auto", ours, theirs)
    except ShapeError:
        assume({len(student), len(teacher)} != {2, 3})
        raise
    projected = projector(ours)
    assert projected.shape == projector.target(theirs).shape
    projected.sum().backward()
    assert ours.grad is not None
    assert torch.isfinite(ours.grad).all()
    assert not list(projector.teacher.parameters())


@pytest.mark.parametrize(
    ("student", "teacher", "name"),
    [
        ((4, 8), (4, 8), "identity"),
        ((4, 8), (5, 8), "identity"),
        ((4, 8), (4, 9), "linear"),
        ((4, 6, 8), (4, 6, 9), "linear"),
        ((4, 6, 8), (4, 3, 9), "pool"),
        ((4, 3, 8), (4, 6, 8), "interpolate"),
        ((4, 8, 5, 5), (4, 9, 5, 5), "conv1x1"),
        ((4, 8, 6, 6), (4, 9, 3, 3), "pool"),
        ((4, 8, 3, 6), (4, 9, 6, 3), "interpolate"),
        ((4, 8, 7, 7), (4, 50, 9), "tokens"),
        ((4, 50, 9), (4, 8, 7, 7), "tokens"),
        ((4, 8, 7, 7), (4, 9), "pool"),
        ((4, 9), (4, 50, 8), "pool"),
    ],
)
def test_auto_names_what_it_chose(student: tuple[int, ...], teacher: tuple[int, ...], name: str) -> None:
    assert projectors.choose(student, teacher) == name
    assert projectors.build("auto", torch.zeros(student), torch.zeros(teacher)).name == name


def test_linear_conv1x1_and_mlp_are_the_textbook_maps() -> None:
    tokens = torch.randn(2, 5, 3)
    linear = projectors.build("linear", tokens, torch.zeros(2, 5, 4))
    layer = linear.student[0]
    torch.testing.assert_close(linear(tokens), tokens @ layer.weight.T + layer.bias)
    image = torch.randn(2, 3, 4, 5)
    conv = projectors.build("conv1x1", image, torch.zeros(2, 6, 4, 5))
    weight, bias = conv.student[0].weight[:, :, 0, 0], conv.student[0].bias
    expected = torch.einsum("oc,nchw->nohw", weight, image) + bias[:, None, None]
    torch.testing.assert_close(conv(image), expected)
    mlp = projectors.build("mlp", tokens, torch.zeros(2, 5, 4))
    first, _, second = mlp.student
    hidden = tokens @ first.weight.T + first.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(tokens), hidden @ second.weight.T + second.bias)
    assert projectors.build("mlp", image, torch.zeros(2, 6, 4, 5))(image).shape == (2, 6, 4, 5)


@pytest.mark.parametrize(("before", "after"), [((6, 4), (3, 2)), ((7, 5), (3, 2))])
def test_pool_averages_the_positions_that_each_target_covers(before: tuple[int, int], after: tuple[int, int]) -> None:
    image = torch.randn(1, 1, *before)
    pooled = projectors.build("pool", image, torch.zeros(1, 1, *after))(image)
    for row in range(after[0]):
        for column in range(after[1]):
            rows = slice(row * before[0] // after[0], -(-(row + 1) * before[0] // after[0]))
            columns = slice(column * before[1] // after[1], -(-(column + 1) * before[1] // after[1]))
            torch.testing.assert_close(pooled[0, 0, row, column], image[0, 0, rows, columns].mean())


def test_interpolation_keeps_a_linear_ramp_linear() -> None:
    ramp = torch.arange(4.0)[None, :, None].expand(1, 4, 2)
    projector = projectors.build("interpolate", ramp, torch.zeros(1, 8, 2))
    expected = (torch.arange(8.0) / 2 - 0.25)[1:-1]
    torch.testing.assert_close(projector(ramp)[0, 1:-1, 0], expected)
    image = torch.arange(4.0)[None, None, :, None].expand(1, 1, 4, 4)
    torch.testing.assert_close(
        projectors.build("interpolate", image, torch.zeros(1, 1, 8, 8))(image)[0, 0, 1:-1, 3], expected
    )


def identity_weights(projector: nn.Module) -> None:
    for layer in projector.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)


def position_map(rows: int, columns: int) -> Tensor:
    """Each position holds its own row and column, so that a swap or a shift is seen."""
    return torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))[None].float()


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("grid", [(4, 4), (2, 6)])
def test_a_position_of_the_map_meets_the_token_of_the_same_patch(prefix: int, grid: tuple[int, int]) -> None:
    image = position_map(*grid)
    patches = image.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.full((1, prefix, 2), -1.0), patches], dim=1)
    to_tokens = projectors.build("tokens", image, tokens)
    identity_weights(to_tokens)
    torch.testing.assert_close(to_tokens(image), patches)
    torch.testing.assert_close(to_tokens.target(tokens), patches)
    to_map = projectors.build("tokens", tokens, image)
    identity_weights(to_map)
    torch.testing.assert_close(to_map(tokens), image)
    assert to_map.target(image) is image
    if prefix:
        assert f"drop {prefix} token" in to_tokens.explain


def test_class_tokens_stay_when_the_lengths_agree_and_go_when_the_grids_differ() -> None:
    same = projectors.build("auto", torch.zeros(1, 197, 8), torch.zeros(1, 197, 9))
    assert same.target(torch.zeros(1, 197, 9)).shape == (1, 197, 9)
    small = torch.cat([torch.full((1, 1, 2), 100.0), position_map(4, 4).flatten(2).transpose(1, 2)], dim=1)
    large = torch.cat([torch.full((1, 1, 2), 100.0), position_map(8, 8).flatten(2).transpose(1, 2)], dim=1)
    pooled = projectors.build("auto", large, small)
    assert pooled.target(small).shape == (1, 16, 2)
    torch.testing.assert_close(pooled(large), 2 * pooled.target(small) + 0.5)
    speech = projectors.build("auto", torch.zeros(1, 30, 2), torch.zeros(1, 60, 2))
    assert "along the sequence to 60" in speech.explain


def test_a_vector_meets_the_average_over_positions() -> None:
    image, tokens, vector = torch.randn(2, 3, 4, 4), torch.randn(2, 7, 3), torch.randn(2, 3)
    torch.testing.assert_close(projectors.build("auto", image, vector)(image), image.mean(dim=(2, 3)))
    torch.testing.assert_close(projectors.build("auto", vector, tokens).target(tokens), tokens.mean(dim=1))


@pytest.mark.parametrize(
    ("name", "student", "teacher", "advice"),
    [
        ("identity", (2, 3), (2, 4), "linear"),
        ("linear", (2, 3, 4, 4), (2, 5, 4, 4), "conv1x1"),
        ("conv1x1", (2, 3, 4, 4), (2, 5, 2, 2), "pool"),
        ("mlp", (2, 5, 3), (2, 6, 3), "interpolate"),
        ("pool", (2, 3, 4, 4), (2, 17, 3), "tokens"),
        ("tokens", (2, 3, 4, 4), (2, 5, 4, 4), "conv1x1"),
    ],
)
def test_a_projector_that_does_not_fit_names_the_one_that_does(
    name: str, student: tuple[int, ...], teacher: tuple[int, ...], advice: str
) -> None:
    with pytest.raises(ShapeError, match=f"'{name}' does not fit .* Use '{advice}'"):
        projectors.build(name, torch.zeros(student), torch.zeros(teacher))


def test_unknown_names_and_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'conv1'.*Did you mean 'conv1x1'"):
        projectors.build("conv1", torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match=r"student's feature must be .* got \[2, 3, 4, 4, 4\]"):
        projectors.build("auto", torch.zeros(2, 3, 4, 4, 4), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="60 tokens cannot be laid out"):
        projectors.build("auto", torch.zeros(2, 3, 4, 4), torch.zeros(2, 60, 3))


@pytest.mark.parametrize("name", [name for name in projectors.NAMES if name not in ("tokens", "identity")])
def test_copies_pickles_and_state_dicts_give_the_same_projector(name: str) -> None:
    shape = (2, 4, 4, 4) if name == "conv1x1" else (2, 5, 4)
    ours, theirs = torch.randn(shape), torch.randn(shape)
    torch.manual_seed(1)
    made = projectors.build(name, ours, theirs)
    torch.manual_seed(2)
    other = projectors.build(name, ours, theirs)
    other.load_state_dict(made.state_dict())
    for twin in (other, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        torch.testing.assert_close(twin(ours), made(ours))
        assert twin.explain == made.explain


def test_half_precision_features_train_float32_weights_and_float64_stays() -> None:
    half = torch.randn(2, 3, dtype=torch.bfloat16)
    projector = projectors.build("linear", half, torch.zeros(2, 4))
    assert projector(half).dtype == torch.float32
    double = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    exact = projectors.build("mlp", double, torch.zeros(2, 4))
    assert torch.autograd.gradcheck(exact, double)
