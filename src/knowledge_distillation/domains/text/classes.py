"""Names of classes and tags, and the numbers that models give them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)


def class_names(labels: Iterable[str], given: Sequence[str] | None, where: str) -> list[str]:
    """The names in the order of the model's outputs: as given, else those that are found, sorted; numbers by value.

    Args:
        labels: of the training part.
        given: the order that a trained model has; None for none.
        where: what they are labels of, for the message.

    Raises:
        ConfigError: if there are fewer than two, or one is given twice.
    """
    found = set(labels)
    names = [str(name) for name in given] if given is not None else sorted(found, key=_order)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"There must be two classes or more, each with a name of its own, and {where} has {names}: there is "
            "nothing to tell apart. Name the column that holds the labels."
        )
    return names


def class_ids(labels: Iterable[str], names: Sequence[str], where: str, *, numbered: bool = False) -> list[int]:
    """The number of each label.

    Args:
        labels: of one part of the data.
        names: of all classes, in their order.
        where: the part, for messages.
        numbered: whether labels may be the classes' numbers, as SST-2's 0 and 1 are: they are taken so where all are
            whole numbers below the count of names and none is a name.

    Raises:
        ConfigError: if one is no class.
    """
    known = {name: number for number, name in enumerate(names)}
    found = list(labels)
    numbers = {str(number): number for number in range(len(names))}
    if numbered and found and set(found) <= numbers.keys() - known.keys():
        logger.warning("The labels of %s are numbers: they are taken for the places of %s.", where, list(names)[:10])
        known = numbers
    unknown = sorted({label for label in found if label not in known})
    if unknown:
        raise ConfigError(
            f"Every label must be one of the {len(names)} classes of the training part, {list(names)[:10]}, and "
            f"{where} has {unknown[:5]}: no answer of the model could be right. Mend the labels, or name all classes "
            "in their order (data.classes)."
        )
    return [known[label] for label in found]


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if re.fullmatch(r"-?[0-9]{1,18}", name) else (1, 0, name)
