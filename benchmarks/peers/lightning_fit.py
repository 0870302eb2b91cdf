"""One epoch with a Lightning Trainer that logs, saves and shows nothing."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from knowledge_distillation.training.loaders import one_loader


def fit(module: LightningModule, batches: Any, **settings: Any) -> None:
    """Train for one walk through the batches.

    Args:
        module: trained in place; it may come again.
        batches: anything with a length that yields batches.
        settings: further arguments of the Trainer.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer = Trainer(max_epochs=1, enable_model_summary=False, **{"accelerator": "cpu", **quiet, **settings})
        trainer.fit(module, one_loader(batches))
