"""Run by a test, once a process: `distill` in a directory, saying when each batch is begun."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn

from knowledge_distillation.errors import Terminated
from tests.ranks import Ranks, settings_of
from tests.run.test_distill import Noisy, train
from tests.training.toys import loader


class Says(Callback):
    """Prints the number of each batch, so that a test knows when to break in."""

    def __init__(self) -> None:
        self.number = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.number += 1
        print(f"batch {self.number}.")


class SaysScoring:
    """A pipeline that says when it begins, for tests that break in there."""

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        print("scoring.")
        return {"inference_result": float(sum(p.double().sum() for p in model.parameters()))}


def main(directory: Path, processes: int = 2, resume: str | None = None, sharded: bool = False) -> None:
    """Train two epochs of eight batches in each process."""
    warnings.simplefilter("ignore")
    strategy: Any = "ddp"
    if sharded:
        strategy = ModelParallelStrategy(processes, tensor_parallel_size=1, save_distributed_checkpoint=False)
    train(
        directory,
        student=Noisy(),
        train_loader=loader(32 * processes, batch_size=4, shuffle=True),
        pipeline=SaysScoring(),
        optimizer="adam",
        schedule="cosine_anneal",
        checkpoint_every=3,
        resume=resume,
        trainer={"devices": processes, "strategy": strategy, "callbacks": [Says()], "log_every_n_steps": 1},
    )
    print("done.")


def start(directory: Path, processes: int = 2, **settings: Any) -> Ranks:
    """Begin such a training in as many processes; settings as of `main`."""
    told = json.dumps({"processes": processes, **settings})
    return Ranks(Path(__file__), directory, told, count=processes, directory=directory.parent)


if __name__ == "__main__":
    folder, settings = settings_of(sys.argv)
    try:
        main(folder, **settings)
    except KeyboardInterrupt:  # as the command line ends
        sys.exit(130)
    except Terminated:
        sys.exit(143)
