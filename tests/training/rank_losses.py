"""Run by a test, once a process: a training whose losses and traffic are written down, as JSON."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint

from knowledge_distillation import DistillationModule
from knowledge_distillation.objective import Term
from tests.ranks import settings_of
from tests.training.toys import CLASSES, FEATURES, Difficult, Losses, filled, identical, loader, quiet_trainer, snapshot

STEPS = 50
OBJECTIVES: dict[str, Any] = {
    "kd": "kd",
    "relations": {
        "rkd": {"loss": "rkd", "weight": 1.0, "student": "body.0", "teacher": "stem", "gather": True},
        "sp": {"loss": "sp", "weight": 5.0, "student": "body.0", "teacher": "stem", "gather": True},
        "kd": 1.0,
    },
    "memory": {
        "kd": 1.0,
        "queue_kl": {"loss": "queue_kl", "weight": 0.1, "width": CLASSES, "size": 64, "gather": True},
    },
    "hint": {"kd": 1.0, "hint": Term(nn.MSELoss(), 0.5, student="body.0", teacher="stem", projector="auto")},
}


class Student(nn.Module):
    """Two blocks, which may be computed again for the gradient."""

    def __init__(self, recomputed: bool = False) -> None:
        super().__init__()
        blocks = [nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh()), nn.Sequential(nn.Linear(16, 16), nn.Tanh())]
        self.body = nn.ModuleList(blocks)
        self.head = nn.Linear(16, CLASSES)
        self.recomputed = recomputed
        filled(self, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        for block in self.body:
            inputs = checkpoint(block, inputs, use_reentrant=False) if self.recomputed else block(inputs)
        return self.head(inputs)


class Traffic(Callback):
    """What DDP sends: the bytes of all its buckets in one step, and its buffers."""

    def __init__(self) -> None:
        self.bytes: list[int] = []
        self.buffers: list[str] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        wrapped = trainer.strategy.model
        if isinstance(wrapped, nn.parallel.DistributedDataParallel):
            wrapped.register_comm_hook(None, lambda state, bucket: self.averaged(bucket))

    def averaged(self, bucket: Any) -> Any:
        self.bytes[-1] += bucket.buffer().numel() * bucket.buffer().element_size()
        sent = distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
        return sent.then(lambda done: done.value()[0] / distributed.get_world_size())

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.bytes.append(0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.buffers = sorted(getattr(trainer.strategy.model, "named_module_buffers", {}))


def main(
    folder: Path,
    processes: int = 1,
    batch: int = 32,
    accumulate: int = 1,
    objective: str = "kd",
    optimizer: str = "sgd",
    recomputed: bool = False,
    sharded: bool = False,
    teacher_sharded: bool = False,
) -> None:
    """Train 50 steps on samples in their order, `batch` of them in each process at a time."""
    warnings.simplefilter("ignore")
    teacher, student = Difficult(), Student(recomputed)
    if teacher_sharded:
        distributed.init_process_group("gloo")
        fully_shard(teacher)
    before = snapshot(teacher)
    torch.manual_seed(int(os.environ.get("RANK", 0)))  # the processes draw other numbers
    data = loader(STEPS * batch * accumulate * processes, batch_size=batch)
    settings = {"optimizer": optimizer, "learning_rate": 0.05, "train_loader": data}
    module = DistillationModule(student, teacher, OBJECTIVES[objective], **settings)
    losses, traffic = Losses(), Traffic()
    trainer = quiet_trainer(
        devices=processes,
        accumulate_grad_batches=accumulate,
        callbacks=[losses, traffic],
        strategy=strategy(processes, sharded),
    )
    trainer.fit(module)
    found = {
        "losses": losses.values,
        "steps": trainer.global_step,
        "sent": traffic.bytes,
        "buffers": traffic.buffers,
        "trained": sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad),
        "saved": sorted(module.state_dict()),
        "memories": {name: memory.tolist() for name, memory in module.objective.shared_memories.items()},
        "teacher same": identical(snapshot(teacher), before),
    }
    (folder / f"rank_{trainer.global_rank}.json").write_text(json.dumps(found))


def strategy(processes: int, sharded: bool) -> Any:
    if not sharded:
        return "ddp" if processes > 1 else "auto"
    from lightning.pytorch.strategies import ModelParallelStrategy

    return ModelParallelStrategy(
        data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, settings = settings_of(sys.argv)
    main(folder, **settings)
