"""What goes wrong for a user when memory runs out in a training; tests/faults has the weights that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import knowledge_distillation as kd
from knowledge_distillation.errors import MemoryExceeded, ModelContractError, Terminated
from knowledge_distillation.training.batch_parts import part_of, samples_of
from tests.faults.kinds.out_of_memory import MESSAGE, Needs
from tests.run.stopping import StopsAt
from tests.run.test_distill import train
from tests.training.toys import QUIET, filled, loader, points

WIDTH, LENGTH = 6, 5


class Sentences(Dataset[Any]):
    """Token ids of different lengths, padded, with a mask and a label for each token."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        ids = torch.arange(index, index + LENGTH) % 11
        mask = (torch.arange(LENGTH) < 1 + index % LENGTH).long()
        return {"input_ids": ids, "attention_mask": mask, "labels": ids % 3}


class Tagger(nn.Module):
    """A label for each token; memory suffices for so many sentences in training."""

    def __init__(self, seed: int, limit: int = 99) -> None:
        super().__init__()
        self.net = filled(nn.Sequential(nn.Embedding(11, WIDTH), nn.Linear(WIDTH, 3)), seed)
        self.limit = limit

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        if self.training and len(input_ids) > self.limit:
            raise torch.OutOfMemoryError(MESSAGE)
        return {"logits": self.net(input_ids)}


def tagged(directory: Path, limit: int, accumulated: int) -> kd.Run:
    return kd.distill(
        Tagger(3),
        Tagger(1, limit),
        DataLoader(Sentences(), batch_size=8, shuffle=True),
        directory=directory,
        objective={"kd": 1.0, "cross_entropy": 0.5},
        optimizer="sgd",
        learning_rate=0.5,
        max_epochs=2,
        doctor=False,
        trainer={**QUIET, "accumulate_grad_batches": accumulated, "log_every_n_steps": 1},
    )


@pytest.mark.slow
@pytest.mark.parametrize("accumulated", [1, 2])
def test_parts_count_by_the_tokens_of_their_mask(accumulated: int, tmp_path: Path) -> None:
    """Otherwise a part of short sentences weighs as much as one of long ones, and the step is another one."""
    whole, parts = (tagged(tmp_path / str(limit), limit, accumulated) for limit in (99, 3))
    for one, other in zip(parts.student.parameters(), whole.student.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    rows = [(run.directory / "metrics.csv").read_text().splitlines() for run in (parts, whole)]
    assert rows[0][0] == rows[1][0]
    for row, expected in zip(rows[0][1:], rows[1][1:], strict=True):
        numbers = [[float(cell) for cell in line.split(",") if cell] for line in (row, expected)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-5, abs=1e-6)


def test_it_is_said_once_a_size_and_batch_normalisation_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a run is slower than the other day and nobody knows why."""

    class Normalised(Needs):
        def __init__(self) -> None:
            super().__init__(4, 1, "forward")
            self.norm = nn.BatchNorm1d(5)

        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(self.norm(inputs))

    train(tmp_path, student=Normalised(), train_loader=loader(batch_size=16), doctor=False)
    said = [record.message for record in caplog.records if "memory ran out" in record.message]
    assert [text.split("from")[0] for text in said] == [
        "step 1: memory ran out with 8 samples at a time; "  # the epoch's second batch
    ]
    assert "parts of 4" in said[0]
    assert said[0].endswith("only batch normalisation sees fewer samples at a time")


def test_one_sample_that_does_not_fit_ends_the_run(tmp_path: Path) -> None:
    """Otherwise the program halves for ever, or divides by zero."""
    with pytest.raises(MemoryExceeded, match=r"step 0 with 1 samples at a time.*smallest part.*out of memory"):
        train(tmp_path, student=Needs(0, 0, "forward"), doctor=False)


@pytest.mark.parametrize(
    ("objective", "balance", "reason"),
    [
        ({"rkd_distance": {"loss": "rkd_distance", "student": "model.hidden", "teacher": "hidden"}}, None, "reach acr"),
        ({"kd": 1.0, "cross_entropy": 1.0}, "uncertainty", "balance"),
    ],
)
def test_an_objective_that_parts_would_change_is_refused(
    objective: Any, balance: str | None, reason: str, tmp_path: Path
) -> None:
    """Otherwise the student learns the relations within small groups, and nobody is told."""
    given = kd.Objective(objective, balance=balance)
    with pytest.raises(MemoryExceeded, match=rf"cannot be taken in smaller parts: .*{reason}"):
        train(tmp_path, student=Needs(4, 0, "forward"), objective=given, doctor=False)


def test_other_errors_pass(tmp_path: Path) -> None:
    """Otherwise a fault in a model is tried again and again with smaller batches."""

    class Wrong(Needs):
        def forward(self, inputs: Tensor) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(tmp_path, student=Wrong(99, 0, ""), doctor=False)


def test_memory_of_the_processor_counts_too(tmp_path: Path) -> None:
    """Otherwise the same student that is saved on a GPU dies on a CPU."""

    class Asks(Needs):
        def forward(self, inputs: Tensor) -> Tensor:
            if self.training and len(inputs) > 4:
                torch.empty(1 << 62, dtype=torch.uint8)
            return super().forward(inputs)

    assert train(tmp_path, student=Asks(99, 0, ""), doctor=False).module.trainer.global_step == 6


@pytest.mark.slow
def test_a_run_goes_on_with_the_size_it_had(tmp_path: Path) -> None:
    """Otherwise each start of the job runs out of memory once more, and is not the same to the bit."""
    student: Any = lambda: Needs(3, 2, "backward")  # noqa: E731
    whole = train(tmp_path / "whole", student=student(), doctor=False)
    with pytest.raises(Terminated):
        train(tmp_path / "cut", student=student(), doctor=False, trainer={"callbacks": [StopsAt(5)]})
    again = train(tmp_path / "cut", student=Needs(3, 0, "backward"), doctor=False, resume="auto")
    for one, other in zip(again.student.parameters(), whole.student.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_batch_is_cut_in_whatever_form(tmp_path: Path) -> None:
    """Otherwise a sample gets its neighbour's label."""
    inputs, labels = points(6).tensors
    batch = {"x": inputs, "names": list("abcdef"), "rest": (labels, 3.0, "word")}
    assert samples_of(batch) == 6
    part = part_of(batch, 2, 4)
    assert torch.equal(part["x"], inputs[2:4])
    assert part["names"] == ["c", "d"]
    assert torch.equal(part["rest"][0], labels[2:4])
    assert part["rest"][1:] == (3.0, "word")
    with pytest.raises(ModelContractError, match=r"one row for each sample.*\[6, 5\]"):
        samples_of((inputs, labels[:5]))
