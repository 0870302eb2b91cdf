"""Run by a test, once a process: validations that several processes share, and what each of them saw, as JSON."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from knowledge_distillation import DistillationModule
from knowledge_distillation.training.pipelines import AccuracyPipeline
from tests.ranks import settings_of
from tests.training.toys import CLASSES, FEATURES, Stream, loader, mlp, points, quiet_trainer

COUNT, BATCH = 23, 4
"""Six batches, the last one of three."""


class Recorded(AccuracyPipeline):
    """Notes the samples that this process scored, by their first feature."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def measure_part(self, model: nn.Module, data_loader: Any) -> tuple[int, int]:
        batches = list(data_loader)
        self.seen += [value for inputs, _ in batches for value in inputs[:, 0].tolist()]
        return super().measure_part(model, batches)


class Own:
    """A user's pipeline, of which nothing is known."""

    def __init__(self) -> None:
        self.calls = 0

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        self.calls += 1
        return {"inference_result": 0.25 + 0.5 * distributed.get_rank(), "rows": sum(1 for _ in data_loader)}


class Norm(nn.Module):
    """A student whose batch statistics decide what it answers, and differ from process to process."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(FEATURES), mlp(2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(inputs))


class Augmented(Dataset[Any]):
    """Samples that draw random numbers."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.rand(FEATURES) + index, index % CLASSES


def loaders() -> dict[str, Any]:
    data = points(COUNT, 5)
    return {
        "in order": DataLoader(data, batch_size=BATCH),
        "shuffled": DataLoader(data, batch_size=BATCH, shuffle=True),
        "cut": DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True),
        "shared already": DataLoader(
            data,
            batch_size=BATCH,
            sampler=DistributedSampler(data, distributed.get_world_size(), distributed.get_rank()),
        ),
        "workers": DataLoader(data, batch_size=BATCH, num_workers=1),
        "augmented": DataLoader(Augmented(), batch_size=BATCH, shuffle=True),
        "one batch": DataLoader(data, batch_size=COUNT),
        "stream": DataLoader(Stream(data), batch_size=BATCH),
    }


def scored(pipeline: Any, name: str) -> dict[str, Any]:
    student = Norm()
    module = DistillationModule(student, mlp(9), "kd", val_loaders={name: loaders()[name]}, pipeline=pipeline)
    trainer = quiet_trainer(devices=distributed.get_world_size(), strategy="ddp", num_sanity_val_steps=0)
    trainer.fit(module, loader(48))
    return {
        "score": module.scores[name],
        "seen": sorted(getattr(pipeline, "seen", [])),
        "calls": getattr(pipeline, "calls", None),
        "alone": AccuracyPipeline().run_inference_pipeline(student.eval(), [points(COUNT, 5).tensors])[
            "inference_result"
        ],
        "norm": student.norm.running_mean.tolist(),
    }


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    torch.manual_seed(rank)  # the processes draw other numbers, and must agree all the same
    found = {name: scored(Recorded(), name) for name in loaders()}
    found["own pipeline"] = scored(Own(), "in order")
    (folder / f"rank_{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(settings_of(sys.argv)[0])
