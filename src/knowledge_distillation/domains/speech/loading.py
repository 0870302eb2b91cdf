"""How recordings become batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch.utils.data import DataLoader, Subset

from knowledge_distillation.domains.lengths import SimilarLengths
from knowledge_distillation.domains.speech.utterances import Utterances, collate
from knowledge_distillation.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Loading:
    """How samples become batches; the attributes as arguments of `librispeech`."""

    batch_size: int
    validation_batch_size: int
    normalised: bool
    speeds: tuple[float, ...]
    alike: bool
    unit: Literal["word", "character"]
    workers: int

    def training(self, samples: Utterances | Subset[Any], seconds: Sequence[float]) -> DataLoader[Any]:
        """Shuffled; `seconds` of each sample."""
        if not self.alike:
            return self._loader(samples, self.batch_size, shuffle=True)
        return self._loader(samples, self.batch_size, sampler=SimilarLengths(seconds, self.batch_size))

    def scoring(self, samples: Utterances | Subset[Any]) -> DataLoader[Any]:
        """In their order."""
        return self._loader(samples, self.validation_batch_size)

    def _loader(self, samples: Any, size: int, **order: Any) -> DataLoader[Any]:
        return DataLoader(samples, batch_size=size, collate_fn=collate, num_workers=self.workers, **order)


def extremes(speeds: Sequence[float]) -> dict[str, float]:
    """The slowest and the fastest of the speeds; ConfigError unless all are from 0.5 to 2 in hundredths.

    Example:
        >>> extremes([1.0, 1.1])
        {'slowest': 1.0, 'fastest': 1.1}
    """
    if not speeds or any(not 0.5 <= speed <= 2.0 or abs(round(speed * 100) - speed * 100) > 1e-9 for speed in speeds):
        raise ConfigError(f"speeds must be a list of numbers from 0.5 to 2 in steps of 0.01, got {speeds!r}.")
    return {"slowest": min(speeds), "fastest": max(speeds)}
