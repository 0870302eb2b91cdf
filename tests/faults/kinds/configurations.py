"""Configurations as people write them: each begins to train, or is refused by one error that says what is wrong."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.doors import caches, distill, exports, lightning, losses, module, original, recipes
from tests.faults.doors.door import Door, complaint
from tests.faults.doors.hand_made import HAND_MADE
from tests.faults.kind import Kind
from tests.faults.place import quiet_place

DOORS: Mapping[str, Door] = {
    "distill": distill.DOOR,
    "original": original.DOOR,
    "recipe": recipes.DOOR,
    "term": module.TERM_DOOR,
    "trainer": lightning.DOOR,
    "cache": caches.DOOR,
    "module": module.MODULE_DOOR,
    "export": exports.DOOR,
    **losses.DOORS,
}
SHARES = {
    "distill": 24, "original": 16, "recipe": 16, "term": 12, "trainer": 10, "cache": 8, "module": 4, "export": 4,
    "loss": 6,
}  # fmt: skip
"""How often each door is gone through; the losses share one share."""
AT_ONCE, DRAWN = 50, 5000
BATCHES = DRAWN // AT_ONCE


def inject(number: int, folder: Path) -> None:
    """Fifty configurations that are drawn, or for the last number those that were thought out."""
    draw = random.Random(number)
    several = HAND_MADE if number == BATCHES else [drawn(draw) for _ in range(AT_ONCE)]
    found = []
    for at, (door, given, verdicts) in enumerate(several):
        with quiet_place(folder / str(at)) as place:
            said = complaint(DOORS[door], given, verdicts, place / "new")
        if said:
            found.append(f"{door} {shown(given)}: {said}")
    assert not found, "\n".join([f"{len(found)} of {len(several)}", *found])


def drawn(draw: random.Random) -> tuple[str, dict[str, Any], dict[str, str]]:
    """A door, some of its arguments, and for each whether it is right, wrong or odd."""
    (door,) = draw.choices(list(SHARES), list(SHARES.values()))
    if door == "loss":
        door = draw.choice(list(losses.DOORS))
    arguments = DOORS[door].arguments
    count = draw.choices((0, 1, 2, 3), (2, 70, 20, 8))[0]
    given, verdicts = {}, {}
    for name in draw.sample(list(arguments), min(count, len(arguments))):
        argument = arguments[name]
        verdict = draw.choices(("right", "wrong", "odd"), (40, 45, 15))[0]
        if values := getattr(argument, verdict):
            given[name], verdicts[name] = draw.choice(values), verdict
    return door, given, verdicts


def shown(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r:.80}" for name, value in given.items()) or "nothing"


KIND = Kind(
    title="a wrong configuration: Python arguments, the original's, recipes, overrides, Lightning's settings",
    survives="refused by one error that names the argument, the value and what is accepted; a right one trains",
    inject=inject,
    all=BATCHES + 1,
    sample=3,
)
