"""Run by a test under torchrun, once a process: train with every optimiser, and write how the teacher fared."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.objective import Term
from knowledge_distillation.training.optimizers import OPTIMIZERS
from tests.training.toys import Difficult, flags, hooks_on, identical, loader, mlp, quiet_trainer, snapshot

ACCUMULATED = (1, 3)
EVERY = {**OPTIMIZERS, "RMSprop": torch.optim.RMSprop}


def objective() -> dict[str, Any]:
    return {"kd": 1.0, "hint": Term(nn.MSELoss(), 0.5, student="hidden", teacher="stem")}


def fares(optimizer: Any, accumulate: int) -> dict[str, Any]:
    """What one training did to the teacher and to the student."""
    teacher, student = Difficult(), mlp()
    before, modes, start = copy.deepcopy(snapshot(teacher)), flags(teacher), snapshot(student)
    module = DistillationModule(student, teacher, objective(), optimizer=optimizer, learning_rate=1e-2)
    trainer = quiet_trainer(max_epochs=2, accumulate_grad_batches=accumulate, devices=2, strategy="ddp")
    trainer.fit(module, loader(48))
    theirs = {id(parameter) for parameter in teacher.parameters()}
    held = {id(entry) for group in trainer.optimizers[0].param_groups for entry in group["params"]}
    return {
        "processes": trainer.world_size,
        "steps": trainer.global_step,
        "same": identical(snapshot(teacher), before),
        "same flags": flags(teacher) == modes,
        "no gradient": all(parameter.grad is None for parameter in teacher.parameters()),
        "no hook": hooks_on(teacher) == 0,
        "not optimised": not theirs & held,
        "not saved": not [name for name in module.state_dict() if "teacher" in name],
        "student moved": not identical(snapshot(student), start),
        "student": {name: value.tolist() for name, value in snapshot(student).items()},
    }


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    found = {f"{name} x{count}": fares(factory, count) for name, factory in EVERY.items() for count in ACCUMULATED}
    (folder / f"rank_{torch.distributed.get_rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
