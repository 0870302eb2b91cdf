"""The teacher that hurts: it learnt digits as they are stored, and is asked about normalised ones.

    kd doctor examples/unlike_inputs.yaml --module examples/unlike_inputs.py
    kd compare examples/unlike_inputs.yaml --module examples/unlike_inputs.py

The doctor says so before anything is trained; the comparison shows what it costs.
"""

from __future__ import annotations

from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.vision import digits

MEAN, DEVIATION = 0.3, 0.37


def normalised_digits(batch_size: int = 32) -> Data:
    """Digits with mean 0 and deviation 1, as the student's own pipeline makes them."""
    stored = digits(batch_size=batch_size)

    def normalised(loader: DataLoader) -> TensorDataset:
        images, labels = loader.dataset.tensors
        return TensorDataset((images - MEAN) / DEVIATION, labels)

    return Data(
        train=DataLoader(normalised(stored.train), batch_size, shuffle=True),
        validation={"test": DataLoader(normalised(stored.validation["test"]), 500)},
        facts=stored.facts,
    )
