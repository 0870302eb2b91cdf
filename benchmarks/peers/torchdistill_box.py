"""torchdistill's arm: a DistillationBox from the configuration that it ships for KD, and the loop of its examples.

`configs/sample/ilsvrc2012/kd/resnet18_from_resnet34.yaml` and `examples/torchvision/image_classification.py` at
v1.1.5, less the meters and the look for NaN in every step. Batches come ready from memory, in place of its loaders.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.pairs import LEARNING_RATE, SOFT_WEIGHT, TEMPERATURE, Pair
from benchmarks.peers.plain import flat

CONFIGURATION = {
    "num_epochs": 1,
    "teacher": {"forward_proc": "forward_batch_only", "sequential": [], "requires_grad": False},
    "student": {
        "forward_proc": "forward_batch_only",
        "adaptations": None,
        "sequential": [],
        "requires_grad": True,
        "frozen_modules": [],
    },
    "criterion": {
        "key": "WeightedSumLoss",
        "kwargs": {
            "sub_terms": {
                "kd": {
                    "criterion": {
                        "key": "KDLoss",
                        "kwargs": {
                            "student_module_path": ".",
                            "student_module_io": "output",
                            "teacher_module_path": ".",
                            "teacher_module_io": "output",
                            "temperature": TEMPERATURE,
                            "alpha": 1 - SOFT_WEIGHT,  # of the labels
                            "reduction": "batchmean",
                        },
                    },
                    "weight": 1.0,
                }
            }
        },
    },
}


class Torchdistill:
    """The arm."""

    def __init__(self, pair: Pair) -> None:
        from torchdistill.core.distillation import get_distillation_box

        logging.getLogger("torchdistill").setLevel(logging.WARNING)
        teacher, self.student = pair.build()
        self.device = torch.device("cpu")
        # the box multiplies the learning rate in place
        settings = {**CONFIGURATION, "optimizer": {"key": "SGD", "kwargs": {"lr": LEARNING_RATE}}}
        self.box = get_distillation_box(teacher, self.student, {}, settings, self.device, None, False, 1)

    def loss(self, batch: Any) -> Tensor:
        images, labels = batch
        loss: Tensor = self.box.forward_process(images, labels, {})
        return loss

    def train(self, batches: Iterable[Any]) -> None:
        self.box.pre_epoch_process(epoch=0)
        for images, labels in batches:
            sample_batch, targets = images.to(self.device), labels.to(self.device)
            loss = self.box.forward_process(sample_batch, targets, {})
            self.box.post_forward_process(loss=loss)

    def weights(self) -> Tensor:
        return flat(self.student)
