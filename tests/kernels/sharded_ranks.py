"""One rank of two: a module that computes the fused loss in its forward, wrapped by DDP and by FSDP."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from knowledge_distillation.losses import Projected, fused_divergence


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(5, 4), nn.Linear(4, 10)

    def forward(self, inputs: Tensor, teacher: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(inputs))
        return fused_divergence(Projected(hidden, self.head.weight, self.head.bias), teacher, chunk_size=2)


def gradients(student: nn.Module) -> list[Tensor]:
    found = [parameter.grad for parameter in student.parameters()]
    return [gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient for gradient in found]  # type: ignore[misc]


def main() -> None:
    dist.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    torch.manual_seed(1)
    inputs, teacher = torch.randn(6, 5), torch.randn(6, 10)
    whole = Student()
    whole(inputs, teacher).backward()
    mine = slice(3 * rank, 3 * rank + 3)
    copies = DistributedDataParallel(Student())
    sharded = Student()
    fully_shard(sharded)
    for student in (copies, sharded):
        student(inputs[mine], teacher[mine]).backward()
        for found, expected in zip(gradients(student), gradients(whole), strict=True):
            torch.testing.assert_close(found, expected)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
