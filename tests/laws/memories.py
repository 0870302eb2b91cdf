"""What losses remember between batches, each against a plain model of that memory in Python lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from knowledge_distillation.losses.embeddings.queue_kl import QueueKL
from knowledge_distillation.losses.relations.crd import CRD

Row = list[float]


def direction(row: Row) -> Row:
    length = math.sqrt(sum(number * number for number in row))
    return [number / length for number in row]


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_rows(found: Tensor, expected: list[Row] | Row, what: str) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), rtol=1e-9, atol=1e-9, msg=what)


def queue_is_first_in_first_out() -> None:
    """Five batches through a queue of 7: the oldest entries go, masked samples never come in."""
    module = QueueKL(3, size=7).double()
    rows, place = module.queue.tolist(), 0
    for step, batch in enumerate([2, 5, 1, 4, 3]):
        teacher = random(batch, 3, seed=step)
        mask = None if step % 2 else torch.arange(batch) % 3 != 1
        module(random(batch, 3, seed=90 + step), teacher, mask=mask)
        for sample, row in enumerate(teacher.tolist()):
            if mask is None or mask[sample]:
                rows[place], place = direction(row), (place + 1) % 7
        assert_rows(module.queue, rows, f"the queue after batch {step}")
    module.eval()(random(2, 3, seed=1), random(2, 3, seed=2))
    assert_rows(module.queue, rows, "the queue in eval mode")


def banks_follow_the_embeddings() -> None:
    """Each visited row moves by 1 - momentum towards the new embedding and keeps length 1; others stand still."""
    module = CRD(4, 5, 9, width=3, negatives=4, momentum=0.3).double()
    sides = {"student": 4, "teacher": 5}
    banks = {side: getattr(module, f"{side}_bank").tolist() for side in sides}
    for step, visited in enumerate([[2, 0, 7], [7, 3, 8], [1, 2, 5]]):
        features = {side: random(3, width, seed=10 * step + width) for side, width in sides.items()}
        mask = torch.tensor([True, step != 1, True])
        index = torch.tensor(visited)
        labels = index % 3
        module(features["student"], features["teacher"], index=index, labels=labels, mask=mask)
        for side in sides:
            head = getattr(module, f"{side}_head")
            for sample, row in enumerate(visited):
                if mask[sample]:
                    new = direction(head(features[side][sample]).tolist())
                    mixed = [0.3 * old + 0.7 * fresh for old, fresh in zip(banks[side][row], new, strict=True)]
                    banks[side][row] = direction(mixed)
            assert_rows(getattr(module, f"{side}_bank"), banks[side], f"the {side}'s bank after batch {step}")
    assert module.bank_labels.tolist() == [0, 1, 2, -1, -1, 2, -1, 1, 2]
    module.eval()(features["student"], features["teacher"], index=index, labels=labels)
    assert_rows(module.student_bank, banks["student"], "the student's bank in eval mode")


def normalisers_are_measured_once() -> None:
    """Z is the bank's size times the mean exponential score of the first counted batch, and stays."""
    module = CRD(4, 5, 9, width=3, negatives=2, temperature=0.5).double()
    banks = {"student": module.teacher_bank.tolist(), "teacher": module.student_bank.tolist()}
    features = {"student": random(2, 4, seed=1), "teacher": random(2, 5, seed=2)}
    index, contrast = torch.tensor([4, 6]), torch.tensor([[4, 1, 2], [6, 0, 3]])
    expected = []
    for side in ("student", "teacher"):
        embeddings = [direction(row) for row in getattr(module, f"{side}_head")(features[side]).tolist()]
        scores = [
            math.exp(sum(a * b for a, b in zip(embedding, banks[side][row], strict=True)) / 0.5)
            for embedding, rows in zip(embeddings, contrast.tolist(), strict=True)
            for row in rows
        ]
        expected.append(9 * sum(scores) / len(scores))
    for _ in range(2):
        module(features["student"], features["teacher"], index=index, contrast=contrast)
        assert_rows(module.normalizers, expected, "the normalisers")


MEMORIES: Mapping[str, tuple[Callable[[], None], ...]] = {
    "queue_kl": (queue_is_first_in_first_out,),
    "crd": (banks_follow_the_embeddings, normalisers_are_measured_once),
}
