"""The queue of teacher embeddings: first in, first out, nothing from padding, nothing in eval mode."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.embeddings.queue_kl import QueueKL, queue_kl


def test_oldest_entries_leave_first() -> None:
    """A queue that overwrote its newest entries would compare with stale embeddings for ever."""
    torch.manual_seed(0)
    loss = QueueKL(3, size=5)
    at_first = loss.queue.clone()
    early, late = torch.randn(3, 3), torch.randn(4, 3)
    loss.enqueue(early, mask=torch.tensor([True, False, True]))
    torch.testing.assert_close(loss.queue, torch.cat([normalize(early[[0, 2]], dim=-1), at_first[2:]]))
    loss.enqueue(late)
    torch.testing.assert_close(loss.queue[[2, 3, 4, 0]], normalize(late, dim=-1))
    torch.testing.assert_close(loss.queue[1], normalize(early[2], dim=-1))
    assert loss.position == 1


def test_training_moves_the_queue_after_the_loss() -> None:
    """A sample must not meet itself twice, and the backward pass needs the queue as it was."""
    torch.manual_seed(0)
    loss = QueueKL(3, size=4)
    before = loss.queue.clone()
    student, teacher = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3)
    value = loss(student, teacher)
    torch.testing.assert_close(value, queue_kl(student, teacher, queue=before))
    value.backward()
    torch.testing.assert_close(loss.queue[:2], normalize(teacher, dim=-1))


def test_evaluation_leaves_the_queue() -> None:
    """Validation data in the queue would leak into training."""
    loss = QueueKL(3, size=4).eval()
    before = loss.queue.clone()
    loss(torch.randn(2, 3), torch.randn(2, 3))
    assert torch.equal(loss.queue, before)
    assert loss.position == 0


def test_half_precision_keeps_the_queue_unit_length() -> None:
    """Embeddings from a bf16 model must not lower the queue's precision or lengths."""
    loss = QueueKL(3, size=4)
    loss(torch.randn(2, 3, dtype=torch.bfloat16), torch.randn(2, 3, dtype=torch.bfloat16))
    assert loss.queue.dtype == torch.float32
    torch.testing.assert_close(loss.queue.norm(dim=-1), torch.ones(4))


def test_queue_holds_a_batch() -> None:
    """A batch larger than the queue would write one place twice, in an order that the device chooses."""
    with pytest.raises(ShapeError, match="the queue must hold at least one batch: it holds 4, the batch has 5"):
        QueueKL(3, size=4).enqueue(torch.randn(5, 3))
