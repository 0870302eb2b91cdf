"""What goes wrong for a user whose cache rounds the teacher away."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch

from knowledge_distillation import distill
from knowledge_distillation.domains.vision import digits, digits_cnn, image_mlp
from knowledge_distillation.teachers import CachedTeacher, Teacher, write_cache
from tests.training.toys import QUIET


@pytest.mark.slow
def test_students_of_the_cache_are_as_good_as_students_of_the_live_teacher(tmp_path: Path) -> None:
    """The demo's task, 3 seeds, answers in float16: the means differ by less than the seeds do."""
    torch.manual_seed(0)
    teacher, data = digits_cnn(), digits(batch_size=32, labelled=100)
    distill(
        None, teacher, digits(batch_size=32).train, objective="labels", max_epochs=4, learning_rate=1e-2,
        schedule="one_cycle", directory=tmp_path / "teacher", trainer=QUIET,
    )  # fmt: skip
    write_cache(teacher, data.train, tmp_path / "cache", {"logits": "float16"})

    def accuracy(source: Teacher | torch.nn.Module, name: str, seed: int) -> float:
        torch.manual_seed(seed)
        run = distill(
            source, image_mlp(hidden=32), data.train, data.validation, max_epochs=8, learning_rate=1e-2,
            schedule="one_cycle", seed=seed, directory=tmp_path / f"{name}-{seed}", trainer=QUIET,
        )  # fmt: skip
        return run.scores["test"]

    live = [accuracy(teacher, "live", seed) for seed in range(3)]
    kept = [accuracy(CachedTeacher(tmp_path / "cache", teacher=teacher), "kept", seed) for seed in range(3)]
    assert statistics.fmean(live) > 0.9
    assert abs(statistics.fmean(live) - statistics.fmean(kept)) <= max(statistics.stdev(live), 1 / 500)
