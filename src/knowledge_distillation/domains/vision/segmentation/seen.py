"""Pairs looked through once before training: which can be used, and which classes their masks hold."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from knowledge_distillation.domains.vision.images import opened, usable
from knowledge_distillation.domains.vision.segmentation.pairs import VOID, Pair, read_pair
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
SHOWN = 10
"""Absent classes that the warning names."""


def looked_through(pairs: Sequence[Pair], classes: int, ignore: int, name: str) -> tuple[list[Pair], set[int]]:
    """The pairs that can be used, in order, and the numbers in their masks, 255 for pixels without a class.

    Args:
        pairs: files.
        classes, ignore: as of `read_pair`.
        name: of the split, for the log.

    Raises:
        ConfigError: as of `usable`.
    """
    numbers: set[int] = set()

    def look(place: int) -> str:
        _, mask = read_pair(pairs[place], classes, ignore)
        numbers.update(torch.unique(mask).tolist())
        with opened(pairs[place].image) as image:
            mode: str = image.mode
        return mode

    return [pairs[place] for place in usable(len(pairs), look, lambda place: pairs[place].image, name)], numbers


def check_seen(numbers: set[int], classes: int, ignore: int, names: Sequence[str]) -> None:
    """Refuse training masks in which there is nothing to tell apart; warn of classes that none of them holds.

    Args:
        numbers: of the training masks, as of `looked_through`.
        classes: how many there should be.
        ignore: what stands in the files where a pixel has no class.
        names: of the classes in order, or none.

    Raises:
        ConfigError: if fewer than two classes occur.
    """
    seen = numbers - {VOID}
    if len(seen) < 2:
        stored = sorted(seen | ({ignore} if VOID in numbers else set()))
        raise ConfigError(
            f"The training masks must hold two classes or more, and hold {stored}, of which {ignore} (ignore) does not "
            f"count: a student that gives every pixel one class would have a perfect score. Number the classes 0 to "
            f"{classes - 1} in the masks, not 0 and 255, or set ignore to the number that is no class."
        )
    absent = [number for number in range(classes) if number not in seen | {ignore}]
    if absent:
        said = [names[number] if names else str(number) for number in absent]
        logger.warning(
            "%d of %d classes are in no training mask, so that no label teaches them: %s%s.",
            len(absent), classes, ", ".join(said[:SHOWN]), ", ..." if said[SHOWN:] else "",
        )  # fmt: skip
