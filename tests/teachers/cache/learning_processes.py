"""Run as a script by test_cached_teacher: two processes learn from one cache. Arguments: cache, run directory."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation import distill
from knowledge_distillation.losses import kd
from knowledge_distillation.teachers import CachedTeacher
from tests.teachers.cache.samples import rows_loader
from tests.training.toys import QUIET, mlp

SEEN: list[float] = []


def watched(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """The loss, and the first teacher logit of every sample that came by."""
    SEEN.extend(teacher_logits[:, 0].tolist())
    return kd(student_logits, teacher_logits)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    cache, home = sys.argv[1:]
    student: nn.Module = mlp(9, 4)
    settings: dict[str, Any] = {**QUIET, "devices": 2, "strategy": "ddp"}
    distill(
        CachedTeacher(cache, teacher=mlp()), student, rows_loader(), objective={"kd": watched}, max_epochs=1,
        directory=home, trainer=settings, doctor=False,  # which would ask the loss too
    )  # fmt: skip
    rank = os.environ.get("LOCAL_RANK", "0")
    total = float(torch.cat([p.detach().flatten() for p in student.parameters()]).sum())
    Path(f"{home}-{rank}.json").write_text(json.dumps({"seen": SEEN, "total": total}))
