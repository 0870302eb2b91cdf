"""Run by a test, once a process: memory runs out in some forward and backward passes of some processes, as JSON."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, Dataset

from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import MemoryExceeded
from tests.faults.kinds.out_of_memory import MESSAGE
from tests.ranks import settings_of
from tests.training.toys import CLASSES, FEATURES, filled, points, quiet_trainer

BATCH, BATCHES, LENGTH = 8, 4, 5
Passes = dict[int, str]
"""Number of a forward pass, from 1 -> "forward" or "backward": where memory runs out in it."""


class Tokens(Dataset[Any]):
    """Sentences of different lengths, so that each process counts other numbers of tokens."""

    def __len__(self) -> int:
        return 2 * BATCH * BATCHES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        inputs = torch.randn(LENGTH, FEATURES, generator=torch.Generator().manual_seed(index))
        mask = (torch.arange(LENGTH) < 1 + index * index % LENGTH).long()
        return {"inputs": inputs, "attention_mask": mask, "labels": torch.arange(index, index + LENGTH) % CLASSES}


class Fixed(nn.BatchNorm1d):
    """Statistics that are never taken, as in fine-tuning; DDP sends them before every step all the same."""

    def train(self, mode: bool = True) -> Fixed:
        return super().train(False)


class Scarce(nn.Module):
    """A student whose memory runs out where it is told."""

    def __init__(self, passes: Passes, norm: str = "", unused: bool = False, hooked: bool = False) -> None:
        super().__init__()
        self.passes, self.calls, self.traffic = passes, 0, 0
        self.under, self.below, self.above, self.head = (
            nn.Linear(FEATURES, 8),
            nn.Linear(8, 8),
            nn.Linear(8, 8),
            nn.Linear(8, CLASSES),
        )
        self.norm = {"": nn.Identity, "fixed": lambda: Fixed(8), "batch": lambda: nn.BatchNorm1d(8)}[norm]()
        self.unused = nn.Linear(3, 3) if unused else None
        filled(self, 3)
        if hooked:
            self.under.weight.register_hook(lambda gradient: 2 * gradient)
        self.sent: list[int] = []

    def forward(self, inputs: Tensor, **rest: Tensor) -> Tensor | dict[str, Tensor]:
        counts = self.training and torch.is_grad_enabled()
        self.calls += counts
        where = self.passes.get(self.calls, "") if counts else ""
        hidden = self.below(self.norm(self.under(inputs)).tanh()).tanh()
        if where == "forward":
            raise torch.OutOfMemoryError(MESSAGE)
        if where == "backward":  # head and above have their gradients by then, and wait or are sent
            hidden.register_hook(self.refuse)
        logits: Tensor = self.head(self.above(hidden).tanh())
        return {"logits": logits} if rest else logits

    def refuse(self, gradient: Tensor) -> None:
        self.sent.append(self.traffic)
        raise torch.OutOfMemoryError(MESSAGE)


class Traffic(Callback):
    """Counts the buckets that DDP sends within a step, and all of them."""

    def __init__(self) -> None:
        self.all = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        wrapped = trainer.strategy.model
        if isinstance(wrapped, nn.parallel.DistributedDataParallel) and not wrapped.static_graph:
            wrapped.register_comm_hook(None, lambda state, bucket: self.averaged(pl_module.student_model, bucket))

    def averaged(self, student: Scarce, bucket: Any) -> Any:
        student.traffic += 1
        self.all += 1
        sent: Any = distributed.all_reduce(bucket.buffer(), async_op=True)
        return sent.get_future().then(lambda done: done.value()[0] / distributed.get_world_size())

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pl_module.student_model.traffic = 0


class Kept(logging.Handler):
    """The messages of the log that tell of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "memory ran out" in record.getMessage():
            self.said.append(record.getMessage())


def trained(
    passes: list[Passes],
    *,
    strategy: str = "ddp",
    settings: dict[str, Any] | None = None,
    accumulate: int = 1,
    tokens: bool = False,
    objective: Any = None,
    teacher_sharded: bool = False,
    **student: Any,
) -> dict[str, Any]:
    """What a training in which memory runs out came to.

    Args:
        passes: of each process; JSON has made strings of the numbers.
        strategy: "ddp" or "sharded".
        settings: of DDP.
        accumulate: batches to a step.
        tokens: learn from `Tokens`.
        objective: else "kd" with labels.
        teacher_sharded: whether each process holds a part of the teacher only.
        student: further arguments of `Scarce`.
    """
    mine = {int(number): where for number, where in passes[distributed.get_rank()].items()}
    model, teacher = Scarce(mine, **student), filled(Scarce({}), 9)
    if teacher_sharded:
        fully_shard(teacher)
    data: Any = Tokens() if tokens else points(2 * BATCH * BATCHES, 5)
    module = DistillationModule(
        model,
        teacher,
        objective or {"kd": 1.0, "cross_entropy": 0.5},
        optimizer="sgd_momentum",
        learning_rate=0.2,
        train_loader=DataLoader(data, batch_size=BATCH, shuffle=True),
    )
    plan: Any = DDPStrategy(**(settings or {}))
    if strategy == "sharded":
        plan = ModelParallelStrategy(2, tensor_parallel_size=1, save_distributed_checkpoint=False)
    traffic, kept = Traffic(), Kept()
    logging.getLogger("knowledge_distillation").addHandler(kept)
    torch.manual_seed(0)
    trainer = quiet_trainer(
        devices=2, strategy=plan, callbacks=[traffic], accumulate_grad_batches=accumulate, max_epochs=2
    )
    error = ""
    try:
        trainer.fit(module)
    except MemoryExceeded as raised:
        error = str(raised)
    logging.getLogger("knowledge_distillation").removeHandler(kept)
    return {
        "weights": [] if error else [parameter.flatten().tolist() for parameter in model.parameters()],
        "loss": None if error else float(module.latest["train_final_loss"]),
        "said": kept.said,
        "calls": model.calls,
        "sent": model.sent,
        "traffic": traffic.all,
        "error": error,
    }


def main(folder: Path, cases: dict[str, dict[str, Any]]) -> None:
    warnings.simplefilter("ignore")
    distributed.init_process_group("gloo")
    found = {name: trained(**case) for name, case in cases.items()}
    (folder / f"rank_{distributed.get_rank()}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    folder, settings = settings_of(sys.argv)
    main(folder, **settings)
