"""The look before every training is cheap, and never stops what would have run."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from knowledge_distillation.doctor import effort, preflight
from tests.contract.toy import Student, Teacher
from tests.contract.toy import train as toy_train
from tests.doctor.test_undisturbed import loader, network


def test_findings_are_logged_and_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise the fault is known, and nobody is told."""
    with caplog.at_level(logging.WARNING):
        diagnosis = preflight(network(4), network(64), loader(), directory=tmp_path, learning_rate=1e-3)
    assert diagnosis.named("student_size")
    assert any("The student is larger than the teacher." in line for line in caplog.messages)
    assert json.loads((tmp_path / "doctor.json").read_text())["checks"] == list(diagnosis.checks)


def test_it_never_stops_a_training(caplog: pytest.LogCaptureFixture) -> None:
    """A doctor that raises turns a training that works into one that does not."""
    diagnosis = preflight("no teacher", network(), loader())  # type: ignore[arg-type]
    assert not diagnosis.findings
    assert "could not look at this training: ConfigError" in caplog.text


def test_the_number_of_items_follows_the_operations_of_one() -> None:
    """Otherwise a large model is asked about 128 pictures on a CPU before every training."""
    width = 512
    layer, one = nn.Linear(width, width, bias=False), torch.zeros(1, width)
    asked = [lambda: layer(one)]
    assert effort.affordable(asked) == effort.MOST_ITEMS
    operations = 2 * width * width  # a product and a sum each
    factor = int(effort.OPERATIONS / operations / 32)
    large = [lambda: torch.empty(factor, width, device="meta") @ torch.empty(width, width, device="meta")]
    assert effort.affordable(large) == 32
    assert effort.affordable([*large, *large]) == 16
    assert effort.affordable(large * 100) == effort.LEAST_ITEMS


def test_a_very_large_model_is_not_asked_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise training begins minutes late, and nobody knows why."""
    monkeypatch.setattr(effort, "LARGEST", 100)
    diagnosis = preflight(network(16), network(), loader(), {"test": loader()})
    assert "of this size are asked on a CPU in the full form only" in diagnosis.skipped["teacher_skill"]
    assert "student_size" in diagnosis.checks


def test_the_originals_front_door_asks_the_doctor_too_and_the_models_do_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise those who come from the original, whose demo had a silent fault, are the only ones not warned."""
    monkeypatch.chdir(tmp_path)
    student, teacher = Student(), Teacher()
    batches = toy_train(student_model=student, teacher_model=teacher).trainer.global_step
    assert "(shuffling): The train loader does not shuffle" in caplog.text
    assert len(student.calls) == len(teacher.calls) == batches
    caplog.clear()
    toy_train(resume_from_checkpoint="checkpoints/last.ckpt", max_epoch=2)
    assert "shuffling" not in caplog.text
