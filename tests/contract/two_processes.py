"""Run by a test, once a process: the front door on two CPU processes, and what each of them saw, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from knowledge_distillation import kd_arguments, kd_training
from tests.contract.toy import ROWS, Student, Teacher, inputs_loader, labelled_loader, training

EPOCHS = 2


class HalfUsed(Student):
    """A student with a parameter that no loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)


class RankScorer:
    """Scores 0.25 on the first process and 0.75 on the second, so that a mix-up shows."""

    def __init__(self) -> None:
        self.calls = 0

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        self.calls += 1
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else -1
        return {"inference_result": 0.25 + 0.5 * rank, "rows": sum(len(inputs) for inputs, _ in data_loader)}


class Witness(Callback):
    """What is wrapped and how the training data is drawn, while training runs."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wrapped = trainer.strategy.model
        self.seen = {
            "wrapped": isinstance(wrapped, DistributedDataParallel),
            "parameters": [name for name, _ in wrapped.named_parameters()] if wrapped is not None else [],
            "sampler": type(trainer.train_dataloader.sampler).__name__,
        }


def main(folder: Path) -> None:
    """Train, then write what this process saw."""
    with patch("torch.cuda.is_available", return_value=True), patch("torch.cuda.device_count", return_value=2):
        asked = kd_arguments.devices_of(2, None)
    # what two GPUs would get, put on two processes of the CPU, which every machine has
    kd_training.devices_of = lambda *given: {**asked, "accelerator": "cpu", "devices": 2}
    pipeline, witness, student, teacher = RankScorer(), Witness(), HalfUsed(), Teacher()
    made = training(
        num_gpu_used=2,
        max_epoch=EPOCHS,
        student_model=student,
        teacher_model=teacher,
        train_data_loader=inputs_loader(2 * ROWS, shuffle=True),
        val_data_loaders={"dev": labelled_loader()},
        inference_pipeline=pipeline,
    )
    made.trainer.callbacks.append(witness)
    made.start_kd_training()
    trained = [call for call in student.calls if call["keywords"]]
    seen = {
        **witness.seen,
        "pipeline_calls": pipeline.calls,
        "score": made.pytorch_lightning_module.scores["dev"],
        "logged": float(made.trainer.callback_metrics["dev"]),
        "loss": float(made.trainer.callback_metrics["train_final_loss_epoch"]),
        "weights": student.net.weight.flatten().tolist(),
        "rows": sorted(row for call in trained[: len(trained) // EPOCHS] for row in call["inputs"][0][:, 0].tolist()),
        "teacher_gradients": any(parameter.grad is not None for parameter in teacher.parameters()),
    }
    (folder / f"rank_{made.trainer.global_rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
