"""Validation that leaves samples out."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.training.loaders import loader_length


def validation_loader(patient: Patient) -> Iterator[Finding]:
    """A validation loader is empty, or drops its last samples."""
    for name, loader in patient.val_loaders.items():
        samples = loader_length(getattr(loader, "dataset", None))
        size = getattr(loader, "batch_size", None)
        drops = isinstance(loader, DataLoader) and loader.drop_last
        if loader_length(loader) == 0:
            yield Finding(
                "error",
                f"The validation loader {name!r} is empty.",
                f"0 batches of {samples} samples" + (f" with batch_size={size} and drop_last." if drops else "."),
                "The student could never be scored, and no best checkpoint chosen.",
                "Fill the dataset" + (", or set drop_last=False." if drops else "."),
            )
        elif drops and samples and isinstance(size, int) and samples % size:
            yield Finding(
                "warning",
                f"The validation loader {name!r} drops its last samples.",
                f"{samples % size} of {samples} samples are never scored (drop_last with batch_size={size}).",
                "Scores are of other samples than meant, and change with the batch size.",
                "Set drop_last=False for validation.",
            )
