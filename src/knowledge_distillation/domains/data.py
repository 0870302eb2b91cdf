"""What a domain's data gives to training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader


@dataclass(frozen=True, slots=True)
class Data:
    """Loaders of one data set.

    Attributes:
        train: shuffled training loader.
        validation: name -> loader; scored after every epoch.
        facts: what models of this data must know, such as {"classes": 10, "channels": 1, "size": 28}.
        class_names: one for each class, for reports; none where classes have numbers only.
    """

    train: DataLoader[Any]
    validation: Mapping[str, DataLoader[Any]]
    facts: Mapping[str, int]
    class_names: Sequence[str] = ()
