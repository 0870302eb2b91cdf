"""Projectors: make a student's feature comparable with a teacher's of another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError, nearest

NAMES = ("auto", "identity", "linear", "conv1x1", "mlp", "pool", "interpolate", "tokens")
MOST_PREFIX_TOKENS = 8
"""More tokens than this beside a square grid are taken for a plain sequence (DINOv2 has 1 + 4)."""
LEAST_GRID = 4
"""Two sequences are resized as square maps only from this many rows on; every short length has a square in it."""

Shape = Sequence[int]
Step = tuple[nn.Module, str]


class Projector(nn.Module):
    """Maps a student's feature into the teacher's space; `target` drops what the student has no part for.

    `loss(projector(student_feature), projector.target(teacher_feature))`: both then have the same shape.
    The weights train with the student; `target` has none.
    """

    def __init__(self, name: str, explain: str, student: Sequence[nn.Module], teacher: Sequence[nn.Module]) -> None:
        super().__init__()
        self.name = name
        self.explain = explain
        """What happens to each side, in words."""
        self.student = nn.Sequential(*student)
        self.teacher = nn.Sequential(*teacher)

    def forward(self, student_features: Tensor) -> Tensor:
        """The student's feature in the teacher's space, in the precision of the weights. Receives gradient."""
        weight = next(self.student.parameters(), None)
        if weight is not None:
            student_features = student_features.to(weight.dtype)
        projected: Tensor = self.student(student_features)
        return projected

    def target(self, teacher_features: Tensor) -> Tensor:
        """The part of the teacher's feature that the projected student is compared with."""
        kept: Tensor = self.teacher(teacher_features)
        return kept

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        return self.explain


def build(name: str, student_example: Tensor, teacher_example: Tensor) -> Projector:
    """Build the projector of this name for features of these shapes.

    Args:
        name: "identity" (equal shapes), "linear" (last axis of [N, C] and [N, L, D]), "conv1x1" (channels of
            [N, C, H, W]), "mlp" (two layers with GELU, as wide as the teacher, of either kind), "pool" and
            "interpolate" (average or linearly resize positions to the teacher's, then map the width where it
            differs; against [N, C] the positions are averaged), "tokens" (between [N, C, H, W] and [N, L, D]), or
            "auto": the first of these that fits, see `choose`.
        student_example: one batch of the student's feature; its shape, device and float64 are taken over.
        teacher_example: one batch of the teacher's.

    Returns:
        A module whose `explain` says what it does. Its weights are float32, or float64 as the example.

    Raises:
        ConfigError: if there is no projector of this name.
        ShapeError: if this one does not fit the shapes.

    Notes:
        Four axes are read as [N, C, H, W], three as [N, L, D]. Class and register tokens are the tokens that stand
        before the largest grid of the map's aspect, at most 8 of them; they are dropped on both sides. Two
        sequences of one length keep them. Sequences of two lengths are resized as square maps if both leave the
        same number of such tokens (197 and 50: one), and along their length otherwise; `explain` says which.

    Example:
        >>> projector = build("auto", torch.zeros(2, 64, 8, 8), torch.zeros(2, 17, 96))
        >>> print(projector.explain.replace("; ", "\\n"))
        student [64, 8, 8]: average to 4x4, 1x1 convolution 64 to 96, positions to tokens
        teacher [17, 96]: drop 1 token
        >>> projector(torch.zeros(2, 64, 8, 8)).shape == projector.target(torch.zeros(2, 17, 96)).shape
        True
    """
    student, teacher = tuple(student_example.shape), tuple(teacher_example.shape)
    chosen = choose(student, teacher) if name == "auto" else name
    student_steps, teacher_steps = _plan(chosen, student, teacher)
    explain = f"student {_say(student, student_steps)}; teacher {_say(teacher, teacher_steps)}"
    projector = Projector(
        chosen, explain, [module for module, _ in student_steps], [module for module, _ in teacher_steps]
    )
    dtype = torch.float64 if student_example.dtype == torch.float64 else torch.float32
    return projector.to(device=student_example.device, dtype=dtype)


def choose(student_shape: Shape, teacher_shape: Shape) -> str:
    """The projector that "auto" stands for.

    Equal shapes: "identity". Same positions: "linear" or "conv1x1". A map and tokens: "tokens". A vector on one
    side only, or more positions on the student's side: "pool". Fewer positions: "interpolate".

    Args:
        student_shape: with the batch axis, which is not compared.
        teacher_shape: the same.

    Raises:
        ShapeError: if a shape is not [N, C], [N, L, D] or [N, C, H, W].
    """
    student, teacher = tuple(student_shape), tuple(teacher_shape)
    for shape, whose in ((student, "student"), (teacher, "teacher")):
        if len(shape) not in (2, 3, 4):
            raise ShapeError(
                f"The {whose}'s feature must be [N, C], [N, L, D] or [N, C, H, W], got {list(shape)}. Reshape it, or "
                "pass your own nn.Module as projector."
            )
    if student[1:] == teacher[1:]:
        return "identity"
    if len(student) == 2 or len(teacher) == 2:
        return "linear" if len(student) == len(teacher) else "pool"
    if len(student) != len(teacher):
        return "tokens"
    if _positions(student) == _positions(teacher):
        return "linear" if len(student) == 3 else "conv1x1"
    fewer = all(mine >= theirs for mine, theirs in zip(_positions(student), _positions(teacher), strict=True))
    return "pool" if fewer else "interpolate"


def _plan(name: str, student: tuple[int, ...], teacher: tuple[int, ...]) -> tuple[list[Step], list[Step]]:
    if name not in NAMES:
        raise ConfigError(f"There is no projector named {name!r}. {nearest(name, NAMES)}")
    advice = choose(student, teacher)
    same_positions = len(student) == len(teacher) and _positions(student) == _positions(teacher)
    fits = {
        "identity": advice == "identity",
        "linear": same_positions and len(student) != 4,
        "conv1x1": same_positions and len(student) == 4,
        "mlp": same_positions,
        "tokens": {len(student), len(teacher)} == {3, 4},
    }.get(name, advice != "tokens")
    if not fits:
        raise ShapeError(
            f"Projector {name!r} does not fit a student feature {list(student)} and a teacher feature {list(teacher)}: "
            f"the result would not have the teacher's shape. Use {advice!r}, which 'auto' would choose."
        )
    before, after = _width(student), _width(teacher)
    map_width = [_map_width(student if len(teacher) > 2 else teacher, before, after)]
    if name == "identity":
        return [], []
    if name == "mlp":
        return [*map_width, (nn.GELU(), "GELU"), _map_width(student, after, after)], []
    if name in ("linear", "conv1x1"):
        return map_width, []
    if name == "tokens":
        return _between_map_and_tokens(student, teacher)
    return _resized(name, student, teacher, map_width if before != after else [])


def _resized(
    name: str, student: tuple[int, ...], teacher: tuple[int, ...], map_width: list[Step]
) -> tuple[list[Step], list[Step]]:
    if len(student) == 2 or len(teacher) == 2:
        return [*_average_all(student), *map_width], _average_all(teacher)
    if len(student) == 4:
        resize = _resize_grid(name, student[2:], teacher[2:])
        return ([*resize, *map_width] if name == "pool" else [*map_width, *resize]), []
    mine, theirs = _grid(student[1], (1, 1)), _grid(teacher[1], (1, 1))
    if mine is None or theirs is None or mine[0] != theirs[0] or min(mine[1], theirs[1]) < LEAST_GRID:
        length = teacher[1]
        pool = nn.AdaptiveAvgPool1d(length) if name == "pool" else nn.Upsample(size=length, mode="linear")
        verb = "average" if name == "pool" else "interpolate"
        return [(_Swap(), ""), (pool, f"{verb} along the sequence to {length}"), (_Swap(), ""), *map_width], []
    (prefix, *grid), (_, *aim) = mine, theirs
    to_map, to_tokens = _to_map(prefix, grid), [(nn.Flatten(2), "positions to tokens"), (_Swap(), "")]
    return [*to_map, *_resize_grid(name, grid, aim), *to_tokens, *map_width], _drop(prefix)


def _between_map_and_tokens(student: tuple[int, ...], teacher: tuple[int, ...]) -> tuple[list[Step], list[Step]]:
    token_count, positions = (teacher[1], student[2:]) if len(student) == 4 else (student[1], teacher[2:])
    found = _grid(token_count, positions) or _grid(token_count, (1, 1))
    if found is None:
        raise ShapeError(
            f"{token_count} tokens cannot be laid out as a grid like {list(positions)}, nor as a square with at most "
            f"{MOST_PREFIX_TOKENS} class or register tokens, so they have no place on the map. Tap another layer, or "
            "pass your own nn.Module as projector."
        )
    prefix, *grid = found
    map_width = _map_width((0, 0, 0, 0), _width(student), _width(teacher))
    start, aim = (student[2:], grid) if len(student) == 4 else (grid, teacher[2:])
    resize = _resize_grid("pool" if start[0] >= aim[0] and start[1] >= aim[1] else "interpolate", start, aim)
    if len(student) == 4:
        to_tokens = [(nn.Flatten(2), "positions to tokens"), (_Swap(), "")]
        return [*resize, map_width, *to_tokens], _drop(prefix)
    return [*_to_map(prefix, grid), *resize, map_width], []


def _positions(shape: tuple[int, ...]) -> tuple[int, ...]:
    return {2: (), 3: shape[1:2], 4: shape[2:]}[len(shape)]


def _width(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) == 4 else shape[-1]


def _grid(token_count: int, aspect: Sequence[int]) -> tuple[int, int, int] | None:
    """Prefix tokens, rows and columns of the largest grid of this aspect, or None if too many tokens are left."""
    common = math.gcd(*aspect)
    rows, columns = aspect[0] // common, aspect[1] // common
    scale = math.isqrt(token_count // (rows * columns))
    prefix = token_count - rows * columns * scale**2
    return (prefix, rows * scale, columns * scale) if scale and prefix <= MOST_PREFIX_TOKENS else None


def _map_width(like: tuple[int, ...], before: int, after: int) -> Step:
    if len(like) == 4:
        return nn.Conv2d(before, after, kernel_size=1), f"1x1 convolution {before} to {after}"
    return nn.Linear(before, after), f"linear {before} to {after}"


def _resize_grid(name: str, before: Sequence[int], after: Sequence[int]) -> list[Step]:
    size = (after[0], after[1])
    if tuple(before) == size:
        return []
    shown = f"{size[0]}x{size[1]}"
    if name == "interpolate":
        return [(nn.Upsample(size=size, mode="bilinear", align_corners=False), f"bilinear to {shown}")]
    ratio, rest = zip(*(divmod(wide, narrow) for wide, narrow in zip(before, size, strict=True)), strict=True)
    # Adaptive pooling has no deterministic gradient on CUDA; whole ratios do not need it.
    pool = nn.AdaptiveAvgPool2d(size) if any(rest) else nn.AvgPool2d((ratio[0], ratio[1]))
    return [(pool, f"average to {shown}")]


def _average_all(shape: tuple[int, ...]) -> list[Step]:
    if len(shape) == 2:
        return []
    axes = (2, 3) if len(shape) == 4 else (1,)
    return [(_Average(axes), "average over all positions")]


def _to_map(prefix: int, grid: Sequence[int]) -> list[Step]:
    unfold = nn.Unflatten(2, (grid[0], grid[1]))
    return [*_drop(prefix), (_Swap(), ""), (unfold, f"tokens to a {grid[0]}x{grid[1]} map")]


def _drop(prefix: int) -> list[Step]:
    return [(_Drop(prefix), f"drop {prefix} token{'s' if prefix > 1 else ''}")] if prefix else []


def _say(shape: tuple[int, ...], steps: list[Step]) -> str:
    return f"{list(shape[1:])}: {', '.join(text for _, text in steps if text) or 'as it is'}"


class _Swap(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.transpose(1, 2)


class _Drop(nn.Module):
    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.prefix :]


class _Average(nn.Module):
    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, features: Tensor) -> Tensor:
        return features.mean(dim=self.axes)
