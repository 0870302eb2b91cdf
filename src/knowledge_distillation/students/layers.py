"""A student with fewer layers: a copy of the teacher that keeps some of its repeated layers, weights included."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from knowledge_distillation.accepted import is_whole
from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.students.configurations import check_configuration
from knowledge_distillation.students.cutting import cut
from knowledge_distillation.students.stacks import Stack, find_stack

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
    if not is_whole(count) or not 1 <= count <= total:
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


def kept_of_stack(stack: Stack, count: int, rule: str | Sequence[int] = "every_k") -> list[int]:
    """Which layers of a stack a rule keeps: those that must stay, and of the others what the rule says.

    Raises:
        ConfigError: as `kept_indices`; also if fewer are wanted than must stay, or one of these is left out.
    """
    total, fixed = len(stack.layers), sorted(stack.fixed)
    if not fixed:
        return kept_indices(total, count, rule)
    if not isinstance(rule, str):
        chosen = kept_indices(total, count, rule)
        missing = [number for number in fixed if number not in chosen]
        if missing:
            raise ConfigError(
                f"The layers {missing} ({', '.join(stack.named(missing))}) change the width or the resolution, or open "
                f"a stage: without them the next layer does not fit. Keep {fixed}."
            )
        return chosen
    kept_indices(total, count, rule)
    if count < len(fixed):
        raise ConfigError(
            f"count must be a whole number from {len(fixed)} to {total}; got {count}. {len(fixed)} layers must stay, "
            f"because they change the width or the resolution, or open a stage: {', '.join(stack.named(fixed))}."
        )
    free = stack.free
    extra = RULES[rule](len(free), count - len(fixed)) if count > len(fixed) else []
    return sorted([*fixed, *(free[number] for number in extra)])


def keep_layers(
    teacher: nn.Module,
    count: int,
    rule: str | Sequence[int] = "every_k",
    *,
    stack: str | Sequence[str] | None = None,
) -> nn.Module:
    """A copy of the teacher with fewer of its repeated layers. Nothing else is left out or shared.

    Everything outside the stack is copied with its weights: embeddings, positions, final norms, heads; weights that
    were tied stay tied. The copy shares no storage with the teacher, so training it leaves the teacher alone. Layer
    numbers and Hugging Face configurations follow, so that key-value caches and `save_pretrained` work.

    In a ResNet, an EfficientNet and other models of several stages the layers are the blocks of all stages, numbered
    through; the first block of each stage and every block that changes width or resolution stay, and the rule chooses
    among the others.

    Args:
        teacher: any model whose layers stand in an `nn.ModuleList` or `nn.Sequential`, one after the other, and can
            take each other's place: transformer layers, or residual blocks of one width.
        count: layers to keep, those that must stay included.
        rule: see `kept_indices`.
        stack: module path of the list; default: see `find_stack`. Several paths cut equally long lists alike, such as
            an encoder and its decoder.

    Returns:
        The student, in the teacher's mode, with the teacher's `requires_grad` flags.

    Raises:
        ConfigError: if there is no such stack or it is not clear which is meant, the count does not fit, or the rule
            is unknown.
    """
    kept_of_stack(find_stack(teacher, stack), count, rule)
    student = copy.deepcopy(unwrap(teacher))
    own = find_stack(student, stack)
    cut(student, own, kept_of_stack(own, count, rule))
    check_configuration(student)
    return student
