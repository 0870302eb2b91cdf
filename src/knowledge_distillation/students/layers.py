"""A student with fewer layers: a copy of the teacher that keeps some of its repeated layers, weights included."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from knowledge_distillation.capture.paths import modules_by_path
from knowledge_distillation.errors import ConfigError, nearest

Rule = Callable[[int, int], list[int]]

RULES: Mapping[str, Rule] = {
    "first_k": lambda total, count: list(range(count)),
    "last_k": lambda total, count: list(range(total - count, total)),
    "every_k": lambda total, count: [number * total // count for number in range(count)],
    "spread": lambda total, count: [
        0 if count == 1 else round(number * (total - 1) / (count - 1)) for number in range(count)
    ],
}
"""Layers to keep, from how many there are and how many are wanted. "every_k" is the original toolkit's where the
numbers divide (24 to 12: 0, 2, ..., 22); "spread" takes the first and the last and spaces the others evenly."""


def kept_indices(total: int, count: int, rule: str | Sequence[int] = "every_k") -> list[int]:
    """Which layers a rule keeps.

    Args:
        total: layers that are there, >= 1.
        count: layers to keep, 1 to `total`.
        rule: "first_k", "last_k", "every_k", "spread", or the indices themselves, rising, counted from 0.

    Returns:
        Rising indices, `count` of them.

    Raises:
        ConfigError: if the count does not fit, the rule is unknown, or the indices are not rising and within bounds.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= total:
        raise ConfigError(
            f"count must be a whole number from 1 to {total}, the layers that are there; got {count!r}. A student "
            "cannot take layers that its teacher does not have."
        )
    if isinstance(rule, str):
        if rule not in RULES:
            raise ConfigError(f"There is no rule {rule!r} for layers. {nearest(rule, RULES)}")
        return RULES[rule](total, count)
    chosen = list(rule)
    if len(chosen) != count or chosen != sorted(set(chosen)) or not 0 <= chosen[0] <= chosen[-1] < total:
        raise ConfigError(f"The layers to keep must be {count} rising numbers from 0 to {total - 1}, got {chosen}.")
    return chosen


def keep_layers(
    teacher: nn.Module, count: int, rule: str | Sequence[int] = "every_k", *, stack: str | None = None
) -> nn.Module:
    """A copy of the teacher with fewer of its repeated layers. Nothing else is left out or shared.

    Everything outside the stack is copied with its weights: embeddings, positions, final norms, heads. The copy shares
    no storage with the teacher, so training it leaves the teacher alone.

    Args:
        teacher: any model whose layers stand in an `nn.ModuleList` or `nn.Sequential`, one after the other, and can
            take each other's place: transformer layers, or residual blocks of one width.
        count: layers to keep.
        rule: see `kept_indices`.
        stack: module path of the list; default: the longest list of layers of one class.

    Returns:
        The student, in the teacher's mode, with the teacher's `requires_grad` flags.

    Raises:
        ConfigError: if there is no such stack, the count does not fit, or the rule is unknown.
    """
    student = copy.deepcopy(teacher)
    layers = _stack(student, stack)
    kept = [layers[index] for index in kept_indices(len(layers), count, rule)]
    del layers[:]
    layers.extend(kept)
    return student


def _stack(model: nn.Module, path: str | None) -> nn.ModuleList | nn.Sequential:
    known = {
        name: module
        for name, module in modules_by_path(model).items()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1
    }
    if path is not None:
        if path not in known:
            raise ConfigError(f"{path!r} is no list of several layers. {nearest(path, known)}")
        return known[path]
    alike = [module for module in known.values() if len({type(layer) for layer in module}) == 1]
    if not alike:
        raise ConfigError(
            f"{type(model).__name__} has no list of layers of one class. Name its list with stack=. "
            f"{nearest('layers', known)}"
        )
    return max(alike, key=len)
