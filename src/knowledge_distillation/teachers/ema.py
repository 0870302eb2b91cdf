"""A teacher made of the student's own past: the moving average of its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from knowledge_distillation.capture.adapters import Adapter, auto
from knowledge_distillation.errors import CheckpointError
from knowledge_distillation.losses.inputs import check_between
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers.live import LiveTeacher


class EMATeacher:
    """A copy of the student whose weights follow it slowly; it answers in eval mode, without gradient.

    After every optimiser step: weights = decay * weights + (1 - decay) * student's weights, starting from the
    student's weights at construction; buffers (batch statistics) are copied. The average belongs to the training, so
    checkpoints hold it, which they do of no other teacher.

    Useful where most samples have no label, and with noise or augmentation in the student's forward. Under DDP every
    process keeps its own, equal copy; FSDP's sharded weights are not followed.

    Args:
        student: copied here; never changed. Load its starting weights before.
        decay: share of the old average that stays, 0 to 1; the paper uses 0.99 while the student changes fast, then
            0.999.
        adapter: (model, batch, temperature) -> Signals.
        temperature: handed to the adapter.

    Raises:
        ConfigError: if decay is not a number from 0 to 1.

    Reference: Tarvainen, Valpola (2017), Mean teachers are better role models, arXiv:1703.01780.
    """

    def __init__(
        self, student: nn.Module, decay: float = 0.999, *, adapter: Adapter = auto, temperature: float = 1.0
    ) -> None:
        self.decay = check_between("decay", decay, 0.0, 1.0)
        self.model = copy.deepcopy(student).requires_grad_(False)
        self._live = LiveTeacher(self.model, adapter=adapter, temperature=temperature)
        self._average = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]

    @property
    def fingerprint(self) -> str:
        """sha256 over the average as it is now; another after every step."""
        return self._live.fingerprint

    def prepare(self, device: torch.device) -> None:
        """Move the copy to the device."""
        self._live.prepare(device)

    def signals(self, batch: Any, wanted: Sequence[str] = ("logits",)) -> Signals:
        """What the average says about a batch, without gradient."""
        return self._live.signals(batch, wanted)

    def release(self) -> None:
        """Take hooks off the copy."""
        self._live.release()

    def after_step(self, student: nn.Module) -> None:
        """Move the average towards the student and copy its buffers, in the copy's own precision."""
        kept = list(self.model.parameters())
        with torch.no_grad():
            fresh = [theirs.to(mine) for mine, theirs in zip(kept, student.parameters(), strict=True)]
            if kept:
                self._average(kept, fresh, None)  # the third is the count, of another kind of average
            for mine, theirs in zip(self.model.buffers(), student.buffers(), strict=True):
                mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """The average's parameters and buffers, for the checkpoint."""
        return dict(self.model.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's average.

        Raises:
            CheckpointError: if it is the average of another model.
        """
        try:
            self.model.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                f"The checkpoint's averaged teacher does not fit {type(self.model).__name__}: {error}. Continue with "
                "the student that the run was begun with."
            ) from error
