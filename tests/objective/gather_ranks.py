"""Run by a test, once a process: losses on gathered samples against the same on the whole batch, as JSON."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses import loss_named
from knowledge_distillation.objective import Objective, Term
from knowledge_distillation.objective.gathering import alone, together
from knowledge_distillation.signals import Signals
from tests.ranks import settings_of

WIDTH, SAMPLES = 6, 40
CRD = {"student_width": WIDTH, "teacher_width": WIDTH, "samples": SAMPLES, "negatives": 5, "width": 4}
LOSSES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("rkd", "sp", "pkt", "cc", "similarity_kl", "dist", "batch_correlation")},
    "queue_kl": {"width": WIDTH, "size": 16},
    "crd": CRD,
}
ROWS = {2: [5, 3], 3: [4, 1, 6]}
"""Samples of each process: not as many in one as in the other."""


def batch(rows: int, masked: bool) -> dict[str, Tensor | None]:
    drawn = torch.Generator().manual_seed(3)
    mask = torch.rand(rows, generator=drawn) < 0.7
    return {
        "inputs": torch.randn(rows, 4, generator=drawn),
        "teacher": torch.randn(rows, WIDTH, generator=drawn),
        "labels": torch.randint(3, (rows,), generator=drawn),
        "index": torch.randperm(SAMPLES, generator=drawn)[:rows],
        "mask": mask if masked else None,
    }


def stepped(objective: Objective, student: nn.Module, seen: dict[str, Any]) -> tuple[float, nn.ModuleList]:
    """The loss of one batch, and both models with its gradient."""
    both = nn.ModuleList([copy.deepcopy(objective), copy.deepcopy(student)])
    torch.manual_seed(11)  # for negatives
    said = both[1](seen["inputs"])
    signals = {"mask": seen["mask"], "labels": seen["labels"], "extras": {"index": seen["index"]}}
    total, _ = both[0](
        Signals(logits=said, features={"f": said}, **signals),
        Signals(logits=seen["teacher"], features={"f": seen["teacher"]}),
    )
    total.backward()
    return float(total), both


def errors_of(name: str, *, masked: bool = False) -> dict[str, float]:
    """The largest relative differences between all processes together and the whole batch in one."""
    torch.manual_seed(5)
    student = nn.Sequential(nn.Linear(4, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)).double()
    signal = "logits" if name in ("dist", "batch_correlation") else "f"
    loss = loss_named(name, **LOSSES[name]).double()
    objective = Objective({"it": Term(loss, student=signal, teacher=signal, gather=True)})
    rank, count = distributed.get_rank(), distributed.get_world_size()
    rows = ROWS[count]
    whole = {key: value.double() if value is not None and value.is_floating_point() else value
             for key, value in batch(sum(rows), masked).items()}  # fmt: skip
    mine = {key: None if value is None else value.split(rows)[rank] for key, value in whole.items()}
    value, models = stepped(objective, student, mine)
    with alone():
        expected, oracle = stepped(objective, student, whole)
    for parameter in models.parameters():  # as DDP does
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= count
    found = {"value": abs(value - expected) / abs(expected)}
    ours = {key: p.grad for key, p in models.named_parameters() if p.grad is not None} | dict(models.named_buffers())
    theirs = {key: p.grad for key, p in oracle.named_parameters() if p.grad is not None} | dict(oracle.named_buffers())
    assert ours.keys() == theirs.keys()
    largest = max(float(tensor.abs().max()) for tensor in theirs.values())  # some have no gradient but rounding
    for key, tensor in theirs.items():
        found[key] = float((ours[key] - tensor).abs().max()) / largest
    return found


def complaint(signals: Any) -> str:
    try:
        together(signals)
    except (ShapeError, ConfigError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def gathers(kind: torch.dtype) -> bool:
    """Whether all rows of this kind come, by rank; each process has one more than the one before."""
    rows = [torch.full((1 + rank, 2), rank, dtype=kind) for rank in range(distributed.get_world_size())]
    return torch.equal(together(rows[distributed.get_rank()]), torch.cat(rows))


def main(folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    found: dict[str, Any] = {name: errors_of(name) for name in LOSSES}
    found |= {f"{name} masked": errors_of(name, masked=True) for name in LOSSES}
    found["lengths differ"] = complaint(torch.zeros(2, 3 + rank))
    found["no samples"] = complaint({"weight": torch.tensor(1.0)})
    found["types"] = {str(kind): gathers(kind) for kind in (torch.float16, torch.bfloat16, torch.int64, torch.bool)}
    (folder / f"rank_{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(settings_of(sys.argv)[0])
