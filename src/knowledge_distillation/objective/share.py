"""How much of a batch one of its parts is, so that what the parts add up to is the loss of the whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """Both between 0 and 1.

    Attributes:
        samples: by number of samples.
        items: by number of items that the mask counts; None where the signals have no mask.
    """

    samples: float
    items: float | None = None
