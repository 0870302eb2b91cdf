"""Run by a test, once a process: two ranks whose clocks say the opposite, and what each of them chose, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation import DistillationModule
from knowledge_distillation.training.speed.measuring import Trial
from tests.training.speed_toys import IMAGES, Cnn
from tests.training.toys import quiet_trainer


def trained(student: Cnn) -> DistillationModule:
    module = DistillationModule(student, Cnn(2, 6), "kd", learning_rate=0.01, speed="auto")

    def milliseconds(trial: Trial) -> float:
        trial.step()
        first = torch.distributed.get_rank() == 0
        return 1.0 if module.speed.settings.channels_last == first else 2.0

    Trial.milliseconds = milliseconds  # type: ignore[method-assign]
    quiet_trainer(max_epochs=1, devices=2, strategy="ddp").fit(module, IMAGES)
    return module


def second_rank_differs(hidden: Tensor) -> Tensor:
    odd = torch.distributed.is_initialized() and torch.distributed.get_rank() == 1
    return 2 * hidden if odd and not hidden.is_contiguous() else hidden


def main(folder: Path) -> None:
    """Train twice, then write what this process chose."""
    module = trained(Cnn(1))
    seen: dict[str, Any] = {
        "chosen": {"channels_last": module.speed.chosen.channels_last},
        "weights": [float(parameter.detach().sum()) for parameter in module.student_model.parameters()],
    }
    other = trained(Cnn(1, read=second_rank_differs))
    seen["refused"] = other.speed.line.partition(".")[0]
    (folder / f"rank_{module.global_rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
