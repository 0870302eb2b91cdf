"""The doors of the losses: every setting of every loss of the catalogue, by its annotation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from knowledge_distillation.losses import catalogue, loss_named
from tests.faults.doors.door import Argument, Door
from tests.faults.doors.values import HUGE, INFINITY, NAN
from tests.laws.case import Case
from tests.laws.collect import all_cases
from tests.laws.evaluate import call_module
from tests.laws.rows import leading

MORE_THAN_ANY_MEMORY = 10**15
FLOAT = Argument((), (NAN, "x", b"x", True, HUGE, 1j, Tensor), (0, -1, 0.5, 2, INFINITY, 1e30, 1e-30))
WHOLE = Argument((), (1.5, "x", NAN, True, INFINITY, "1"), (0, -1, 1, 3, MORE_THAN_ANY_MEMORY, -MORE_THAN_ANY_MEMORY))
FLAG = Argument((True, False), (5, "yes", NAN, [], b"x"))
WORD = Argument((), ("no such", 5, True, [], b"mean", ""))
OTHER = Argument((), (b"x", 1j), (5, "x", [], {}, None, (), -1, NAN, [1.0, NAN], "auto"))


def begin(case: Case, given: Mapping[str, Any], folder: Path) -> None:
    """Build the loss with other settings, and take its value and gradient on a batch."""
    torch.manual_seed(0)
    made = loss_named(case.name, **{**case.settings, **given}).double()
    inputs, leaves = leading(case.inputs(torch.Generator().manual_seed(0), max(4, case.minimum_batch)))
    value = call_module(made, inputs)
    torch.autograd.grad(value.sum(), leaves, allow_unused=True)


def argument_of(annotation: Any) -> Argument:
    """What may and may not be handed in for an annotation."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return Argument(parts, WORD.wrong)
    known = {float: FLOAT, int: WHOLE, bool: FLAG}
    if type(None) in parts and len(parts) == 2:
        inner = argument_of(next(part for part in parts if part is not type(None)))
        return Argument((), inner.wrong, (*inner.right, *inner.odd, None))
    return known.get(annotation, OTHER)


def door_of(case: Case) -> Door:
    """The door of a loss; no setting of its case, whose tensors have sizes, is changed."""
    hints = get_type_hints(catalogue()[case.name].module.__init__)
    hints.pop("return", None)
    return Door(partial(begin, case), {name: argument_of(hint) for name, hint in hints.items()})


DOORS: Mapping[str, Door] = {f"loss {case.name}": door_of(case) for case in all_cases() if case.module is None}
