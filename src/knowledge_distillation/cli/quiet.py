"""Logging of the command line: our lines on stderr, Lightning's advertising off."""

from __future__ import annotations

import logging
import warnings


def quiet_lightning() -> None:
    """Show the toolkit's own log lines and only warnings of Lightning."""
    import lightning.pytorch  # noqa: F401  (it sets its own levels when first imported)

    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning_utilities", "torch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*LeafSpec.*", ".*is smaller than the logging interval.*"):
        warnings.filterwarnings("ignore", message=message)
