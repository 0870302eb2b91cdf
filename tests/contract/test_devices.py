"""I. Devices, processes and precision: statements 55 to 57."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from knowledge_distillation.errors import ConfigError
from tests.contract.toy import ROWS, column, rows, train, training


@pytest.mark.parametrize(
    ("gpus", "accelerator", "kind", "devices"),
    [
        (0, None, "cpu", 1),
        (1, None, "gpu", 1),
        (2, None, "gpu", 2),
        (4, None, "gpu", 4),
        (0, "cpu", "cpu", 1),
        (0, "gpu", "gpu", 1),
        (2, "gpu", "gpu", 2),
        (2, "ddp", "gpu", 2),
        (0, "ddp_cpu", "cpu", 1),
    ],
)
def test_55_the_number_of_gpus_and_the_accelerator_choose_the_device(
    gpus: int, accelerator: str | None, kind: str, devices: int, settings: dict[str, Any], four_gpus: None
) -> None:
    """The original ignored `accelerator`; a wrong device is noticed by the hours it costs."""
    training(num_gpu_used=gpus, accelerator=accelerator)
    assert settings["accelerator"] in (kind, {"gpu": "cuda"}.get(kind))
    assert settings["devices"] == devices


@pytest.mark.parametrize("gpus", [0, 1])
def test_55_one_device_needs_no_processes(gpus: int, settings: dict[str, Any], four_gpus: None) -> None:
    """Starting processes for a single device would run the user's script twice."""
    training(num_gpu_used=gpus)
    assert settings["strategy"] == "auto"


@pytest.mark.parametrize("gpus", [2, 4])
def test_55_several_gpus_train_with_ddp(gpus: int, settings: dict[str, Any], four_gpus: None) -> None:
    """With another strategy, or none, the further GPUs would idle or train students of their own."""
    training(num_gpu_used=gpus)
    assert settings["strategy"].startswith("ddp")


@pytest.mark.parametrize(("gpus", "accelerator"), [(5, None), (1, "mps"), (5, "ddp")])
def test_55_a_gpu_that_is_not_there_is_refused(
    gpus: int, accelerator: str | None, settings: dict[str, Any], four_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training on fewer devices than asked for, in silence, looks like a slow toolkit."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"num_gpu_used={gpus} but [04] "):
        training(num_gpu_used=gpus, accelerator=accelerator)
    assert settings == {}


def test_55_nodes_are_passed_on(settings: dict[str, Any], four_gpus: None) -> None:
    """With num_nodes lost, two machines would train two students."""
    training(num_gpu_used=4, num_nodes=2)
    assert settings["num_nodes"] == 2


@pytest.mark.parametrize(("gpus", "accelerator"), [(2, None), (2, "ddp"), (0, "ddp_cpu")])
def test_56_students_with_unused_parameters_train_in_ddp(
    gpus: int, accelerator: str | None, settings: dict[str, Any], four_gpus: None
) -> None:
    """A student with a head that no loss reaches trained in the original; plain DDP stops at its second step."""
    training(num_gpu_used=gpus, accelerator=accelerator)
    assert "find_unused_parameters_true" in settings["strategy"]


def test_56_a_spawned_strategy_is_honoured(settings: dict[str, Any], four_gpus: None) -> None:
    """In a notebook only spawned processes work; a script-based strategy would hang there."""
    training(num_gpu_used=2, accelerator="ddp_spawn")
    assert "spawn" in settings["strategy"]


def test_56_processes_share_the_data_and_train_one_student(two_processes: SimpleNamespace) -> None:
    """Without a DistributedSampler every process sees all data, and two GPUs are no faster than one."""
    first, second = two_processes.first, two_processes.second
    assert first["sampler"] == second["sampler"] == "DistributedSampler"
    assert len(first["rows"]) == len(second["rows"]) == ROWS
    assert sorted(first["rows"] + second["rows"]) == pytest.approx(sorted(rows(2 * ROWS)[:, 0].tolist()))
    assert first["weights"] == second["weights"]
    assert first["loss"] == second["loss"]


def test_56_only_the_student_is_wrapped(two_processes: SimpleNamespace) -> None:
    """A wrapped teacher costs its whole size again on every process, and its gradients would be waited for."""
    for seen in (two_processes.first, two_processes.second):
        assert seen["wrapped"]
        assert seen["parameters"]
        assert all("student_model" in name for name in seen["parameters"])
        assert not seen["teacher_gradients"]


@pytest.mark.parametrize(
    ("precision", "expected"), [(16, "16-mixed"), (32, "32-true"), ("bf16-mixed", "bf16-mixed"), ("16", "16-mixed")]
)
def test_57_precision_on_a_gpu(
    precision: int | str, expected: str, settings: dict[str, Any], four_gpus: None, caplog: pytest.LogCaptureFixture
) -> None:
    """16 means mixed precision as in the original; true half precision would lose small gradients."""
    training(num_gpu_used=1, precision=precision)
    assert str(settings["precision"]) in (expected, expected.removesuffix("-true"))
    assert not caplog.records


def test_57_sixteen_bits_on_a_cpu_become_thirty_two_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The default precision cannot run on a CPU; the original stopped, silence would hide what was trained."""
    with caplog.at_level(logging.WARNING, logger="knowledge_distillation"):
        made = train(precision=16)
    assert made.trainer.precision == "32-true"
    (record,) = [record for record in caplog.records if "precision" in record.getMessage()]
    assert "precision=16" in record.getMessage()
    assert "32-bit" in record.getMessage()


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="needs a CPU-only machine")
def test_57_automatic_choice_of_a_cpu_trains_in_full_precision_too() -> None:
    """accelerator="auto" finds the CPU; mixed precision there is slow and was not asked for."""
    assert training(precision=16, accelerator="auto").trainer.precision == "32-true"


def test_57_bfloat16_trains_on_a_cpu_and_keeps_full_weights() -> None:
    """Mixed precision must mix: the stored student stays in 32 bits, and the losses stay finite."""
    made = train(precision="bf16-mixed")
    assert made.trainer.precision == "bf16-mixed"
    assert {parameter.dtype for parameter in made.get_student_model().parameters()} == {torch.float32}
    assert math.isfinite(column("train_final_loss")[0])


@pytest.mark.parametrize("deterministic", [True, False])
def test_57_deterministic_is_passed_on(deterministic: bool, settings: dict[str, Any]) -> None:
    """Two runs on a GPU would differ although the user asked for the same."""
    training(deterministic=deterministic)
    assert settings["deterministic"] is deterministic
