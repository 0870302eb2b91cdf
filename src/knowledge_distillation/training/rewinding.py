"""Random generators that a data loader brings along: seen once before a training, put back before the next."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class LoaderStart:
    """How a DataLoader's own generators stand before a training. Generators that `seed_everything` seeds need nothing.

    Args:
        loader: of the training; anything that has no generators of its own is fine.
        seed: that the training is about to have.
    """

    def __init__(self, loader: Any, seed: int) -> None:
        self.loader = loader
        self.seed = seed
        self.states: list[tuple[torch.Generator, Tensor]] = [
            (generator, generator.get_state()) for generator in _generators(loader)
        ]

    def rewind(self, seed: int) -> None:
        """Let the loader begin as it did for the seed that it was seen with; for another seed, from that seed."""
        if getattr(self.loader, "_iterator", None) is not None:
            self.loader._iterator = None  # persistent workers go on with the random numbers of the training before
        for generator, state in self.states:
            if seed == self.seed:
                generator.set_state(state)
            else:
                generator.manual_seed(seed)


def _generators(loader: Any) -> list[torch.Generator]:
    places = [loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler", "dataset"))]
    places.append(getattr(places[2], "sampler", None))
    found = [getattr(place, "generator", None) for place in places]
    return list({id(entry): entry for entry in found if isinstance(entry, torch.Generator)}.values())
