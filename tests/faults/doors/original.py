"""The original's front door: `KnowledgeDistillationTraining`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from knowledge_distillation.kd_training import KnowledgeDistillationTraining
from tests.contract.toy import Student, Teacher, inputs_loader, training
from tests.faults.doors.distill import NO_LOADER, NO_MODULE
from tests.faults.doors.door import Argument, Door, Made
from tests.faults.doors.plans import COUNT, LEARNING_RATE, OPTIMIZER, SCHEDULE, SEED, TEMPERATURE, WARM_UP
from tests.faults.doors.values import HUGE, INFINITY, NAN, NO_COUNT, NO_MAPPING, NO_NUMBER, NO_PATH

ARGUMENTS: Mapping[str, Argument] = {
    "num_gpu_used": Argument((0,), (-1, 1.5, HUGE, *NO_NUMBER, 10**6)),
    "max_epoch": COUNT,
    "optimize_method": OPTIMIZER,
    "scheduler_method": SCHEDULE,
    "learning_rate": LEARNING_RATE,
    "num_lr_warm_up_epoch": WARM_UP,
    "final_loss_coeff_dict": Argument(
        ({"kd_loss": 1}, {"kd_loss": 1, "cos_embed_loss": 0.5}),
        (*NO_MAPPING, {}, [], {1: 1}, {"kd_loss": NAN}, {"kd_loss": -1}, {"kd_loss": "1"}, {"kd_loss": True},
         {"kd_loss": None}, {"kd_los": 1}, {"train_logit_diff": 1}, {"kd_loss": HUGE}, {"": 1}),
        (None,), ("weight", "loss"),
    ),
    "log_to_comet": Argument((False,), ("no", 5, [], NAN, None), (0, 1)),
    "comet_info_path": Argument(("", "x", Path("x")), (5, [], None, True)),
    "comet_exp_name": Argument(("", "x"), (5, [], None, True)),
    "temperature": TEMPERATURE,
    "seed": SEED,
    "track_grad_norm": Argument((2, 1.5, -1, INFINITY), ("two", -2, NAN, True, [2], None, {}, 0)),
    "accumulate_grad_batches": COUNT,
    "accelerator": Argument((None, "cpu", "auto"), ("ddp_cuda", 3, ["gpu"], {}, True, "")),
    "num_nodes": Argument((1,), NO_COUNT),
    "precision": Argument((16, 32, "32", "bf16-mixed", "bf16"), (8, "banana", True, [16], None, NAN, {}, HUGE)),
    "deterministic": Argument((True, False, "warn"), ("yes", 2, 1, 0, None, [], NAN)),
    "resume_from_checkpoint": Argument((None, ""), (*NO_PATH, "gone.ckpt", 0, False, []), (), ("checkpoint",)),
    "train_data_loader": Argument(
        (Made(lambda: inputs_loader(4)),), (*NO_LOADER, [], Made(lambda: DataLoader([]))), (),
        ("train loader", "train_loader"),
    ),
    "val_data_loaders": Argument(
        (None,), (5, "dev", [1], True, {"dev": 5}, {"": [1]}, {5: [1]}, {"epoch": [1]}), (),
        ("val_loaders", "validation loader"),
    ),
    "inference_pipeline": Argument((None,), (), (5, "x")),
    "student_model": Argument((Made(Student), Student), (*NO_MODULE, None, lambda: 5), (), ("student",)),
    "teacher_model": Argument((Made(Teacher),), (*NO_MODULE, None, Teacher)),
    "logging_param": Argument((None, {}, {"note": 1}), (5, [1], "text", True)),
}  # fmt: skip


def begin(given: Mapping[str, Any], folder: Path) -> None:
    """Train for as many steps as there are epochs."""
    training(**{"train_data_loader": inputs_loader(4), **given}).start_kd_training()


DOOR = Door(begin, ARGUMENTS)
assert {*ARGUMENTS} == {*inspect.signature(KnowledgeDistillationTraining).parameters}, "every argument, and no other"
