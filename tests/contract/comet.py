"""An in-memory stand-in for Lightning's CometLogger: keeps what it is told and never leaves this process."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from lightning.pytorch.loggers import CometLogger, Logger


class FakeComet(Logger):
    """Accepts exactly the arguments that Lightning's own CometLogger accepts."""

    made: ClassVar[list[FakeComet]] = []

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        inspect.signature(CometLogger.__init__).bind(self, **arguments)
        self.arguments = arguments
        self.hyperparameters: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        type(self).made.append(self)

    @property
    def name(self) -> str:
        return str(self.arguments.get("project") or self.arguments.get("project_name"))

    @property
    def version(self) -> str:
        return "experiment_key"

    @property
    def save_dir(self) -> str | None:
        return self.arguments.get("offline_directory") or self.arguments.get("save_dir")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.hyperparameters.update(params)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.metrics.update(metrics)
