"""What the models said of one batch: the items that count, side by side, in small pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.tasks import Task, arrange, counted_items
from knowledge_distillation.losses import TopK
from knowledge_distillation.signals import Signals

PIECE = 2**22
"""Scores of one model in one piece: 16 MiB in float32, whatever the vocabulary."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Items that count, and what each model says of them.

    Attributes:
        scores: model -> float32 or float64 of shape [items, outputs], on one device.
        labels: shape [items], or [items, outputs] for independent labels and numbers; None without labels.
        sample: which sample of the batch each item belongs to, shape [items].
        position: its place within the sample (token, pixel), shape [items]; 0 where a sample is one item.
    """

    scores: Mapping[str, Tensor]
    labels: Tensor | None
    sample: Tensor
    position: Tensor


def scores_of(signals: Signals, task: Task | None, classes: int | None = None) -> Tensor:
    """What stands for the logits of a model, at least float32, without graph.

    Args:
        signals: with logits, a `TopK`, or log-probabilities only.
        task: None while it is being found out.
        classes: how many a `TopK` spreads over; None for as many as it names.
    """
    logits = signals.logits
    if isinstance(logits, TopK):
        return dense(logits, classes)
    if isinstance(logits, Tensor):
        logits = logits.detach()
        return logits if logits.dtype == torch.float64 else logits.float()
    if signals.log_probs is None:
        raise AssertionError("a subject's answer has logits or log-probabilities")
    log_probs = signals.log_probs.detach()
    log_probs = log_probs if log_probs.dtype == torch.float64 else log_probs.float()
    # independent labels are decided by the sign of their logit
    return log_probs - torch.log1p(-log_probs.exp()) if task == "multilabel" else log_probs


def dense(sparse: TopK, classes: int | None) -> Tensor:
    """Log-probabilities over all classes, what lies outside the known ones spread evenly; [*items, classes]."""
    count = max(classes or 0, int(sparse.indices.max()) + 1)
    known = sparse.log_probs.float()
    present = known.isfinite().sum(dim=-1)
    mass = known.exp().sum(dim=-1)
    tail = (1 - mass).clamp(min=0) if sparse.log_tail is None else sparse.log_tail.float().exp()
    each = (tail / (count - present).clamp(min=1)).log()
    filled = each[..., None].expand(*each.shape, count).clone()
    # an entry that is not there must not overwrite one that is: it keeps the share of the tail
    values = torch.where(known.isfinite(), known, each[..., None])
    order = known.isfinite().int().argsort(dim=-1, stable=True)
    for place in range(known.shape[-1]):
        at = order[..., place : place + 1]
        filled.scatter_(-1, sparse.indices.long().gather(-1, at), values.gather(-1, at))
    return filled


def label_tensor(signals: Sequence[Signals]) -> Tensor | None:
    """The labels that the first of these models read from the batch; None where there are none, or no tensor."""
    return next((said.labels for said in signals if isinstance(said.labels, Tensor)), None)


def rows_of(task: Task, answers: Mapping[str, Signals], *, device: torch.device, classes: int | None) -> Iterator[Rows]:
    """The items of one batch, in pieces.

    Models that answer for other items than the rest, as those of another tokenizer do, come in pieces of their own.

    Args:
        task: what the scores are.
        answers: model -> what it said of the batch.
        device: where the pieces are put together.
        classes: how many a sparse teacher's answer spreads over.

    Raises:
        ConfigError: if a label names no class.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    arranged: dict[str, tuple[Tensor, Tensor | None, Tensor | None]] = {}
    shared = label_tensor(list(answers.values()))
    for name, said in answers.items():
        own = said.labels if isinstance(said.labels, Tensor) else shared
        scores, labels = arrange(task, scores_of(said, task, classes), own)
        arranged[name] = scores, labels, said.mask
        groups.setdefault(tuple(scores.shape[:-1]), []).append(name)
    for items, names in groups.items():
        yield from _pieces(task, torch.Size(items), {name: arranged[name] for name in names}, device, classes)


def _pieces(
    task: Task,
    items: torch.Size,
    arranged: Mapping[str, tuple[Tensor, Tensor | None, Tensor | None]],
    device: torch.device,
    classes: int | None,
) -> Iterator[Rows]:
    labels = next((told for _, told, _ in arranged.values() if told is not None), None)
    counted: Tensor | None = None
    for _, told, mask in arranged.values():
        here = counted_items(task, items, told, mask)
        if here is not None:
            here = here.to(device)
            counted = here if counted is None else counted & here
    numbers = torch.arange(items.numel(), device=device)
    if counted is not None:
        numbers = numbers[counted.flatten()]
    inner = items[1:].numel()
    widest = max(scores.shape[-1] for scores, _, _ in arranged.values())
    if labels is not None:
        labels = labels.to(device).reshape(items.numel(), *labels.shape[len(items) :])
        if task in ("classification", "language"):
            check_classes(labels[numbers], max(widest, classes or 0))
    flat = {name: scores.reshape(items.numel(), scores.shape[-1]) for name, (scores, _, _) in arranged.items()}
    for piece in torch.split(numbers, max(1, PIECE // widest)):
        yield Rows(
            scores={name: scores[piece.to(scores.device)].to(device) for name, scores in flat.items()},
            labels=None if labels is None else labels[piece],
            sample=piece // inner,
            position=piece % inner,
        )


def check_classes(labels: Tensor, classes: int) -> None:
    """Raise ConfigError unless every label is a class id from 0 on below `classes`."""
    if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        raise ConfigError(
            f"Labels must be class ids from 0 to {classes - 1}, or -100 for what does not count; found {wrong}. No "
            "model could ever be right there. Map the labels to the models' classes."
        )
