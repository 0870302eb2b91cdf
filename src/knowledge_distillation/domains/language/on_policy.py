"""On-policy training: the student writes, and what it wrote is what both models are then asked about."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.calls import in_eval_mode
from knowledge_distillation.domains.language.responses import as_batch, prompts_of
from knowledge_distillation.domains.language.sampling import Sampler
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.losses.inputs import check_between
from knowledge_distillation.teachers import CachedTeacher
from knowledge_distillation.teachers.live import is_distributed
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.pipelines import higher_is_better


class OnPolicy(Callback):
    """Puts the student's own responses in the place of a batch's, before the batch is learnt from.

    Pass it to `distill` in trainer={"callbacks": [...]}. Batches are dicts of `input_ids` [N, L] with labels of -100 on
    the prompts; batches of prompts alone do, where `fraction` is 1. All that is drawn comes from torch's generator and
    all that is kept goes into checkpoints, so that a broken-off run goes on exactly.

    Args:
        sampler: who writes: `StudentSampler`, `MixedSampler`, `SpeculativeSampler`, `ServedSampler`, or your own.
        fraction: share of the batches whose responses are not the data's, 0 to 1; GKD's lambda.
        replay: share of those that are taken from the buffer instead of being written anew, 0 to 1 but not 1.
        buffer: batches of responses that are kept for it; the oldest goes first.

    Raises:
        ConfigError: if a setting is out of its range; when training begins, if it is no distillation, the teacher is
            cached, or the student is sharded over processes.
        ModelContractError: from the first step, if batches hold no prompts.

    Reference: Agarwal et al. (2023), On-Policy Distillation of Language Models (GKD), arXiv:2306.13649; replay as in
        Ko et al. (2024), DistiLLM, arXiv:2402.03898.
    """

    def __init__(self, sampler: Sampler, *, fraction: float = 1.0, replay: float = 0.0, buffer: int = 16) -> None:
        if not callable(getattr(sampler, "sample", None)):
            raise ConfigError(f"sampler must have a method sample(student, teacher, prompts), got {sampler!r}.")
        self.sampler = sampler
        self.fraction = check_between("fraction", fraction, 0.0, 1.0)
        self.replay = check_between("replay", replay, 0.0, 0.999)
        self.kept: deque[dict[str, Tensor]] = deque(maxlen=check_whole("buffer", buffer, unit="batches"))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, DistillationModule):
            raise ConfigError(f"OnPolicy works in a distillation, got a {type(pl_module).__name__}.")
        if isinstance(pl_module.teacher, CachedTeacher):
            raise ConfigError(
                "On-policy training asks the teacher about what the student writes, and a cache holds no answers to "
                "that. Distil with the live teacher, or without OnPolicy."
            )
        if any(map(is_distributed, pl_module.student_model.parameters())):
            raise ConfigError(
                "On-policy training needs the whole student in each process, and the strategy shards it: processes "
                "that write texts of unequal length would wait for each other for ever. Use strategy 'ddp'."
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not isinstance(pl_module, DistillationModule):
            raise AssertionError("on_fit_start lets no other module pass")
        if not isinstance(batch, MutableMapping):
            raise ModelContractError(
                f"On-policy training needs batches that are dicts with 'input_ids', got {type(batch).__name__}."
            )
        own, again = torch.rand(2).tolist()
        if own >= self.fraction:
            return
        if self.kept and again < self.replay_at(trainer):
            chosen = self.kept[int(torch.randint(len(self.kept), ()))]
            shown = {name: tensor.to(pl_module.device) for name, tensor in chosen.items()}
        else:
            shown = written(self.sampler, pl_module, batch)
            self.kept.append({name: tensor.cpu() for name, tensor in shown.items()})
        batch.clear()
        batch.update(shown)

    def replay_at(self, trainer: Trainer) -> float:
        """The share of replayed batches among the student's own, at this step."""
        return self.replay

    def state_dict(self) -> dict[str, Any]:
        return {"fraction": self.fraction, "kept": list(self.kept)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.fraction = state_dict["fraction"]
        self.kept.clear()
        self.kept.extend(state_dict["kept"])


class AdaptiveReplay(OnPolicy):
    """DistiLLM's schedule: the student's own responses come in when it no longer gets better without them.

    The fraction begins at 0 and grows by `growth` after every validation whose score is worse than the one before. Of
    the student's own batches a share that grows from 0 to 1 over the training is replayed.

    Args:
        sampler: who writes.
        growth: added to the fraction, above 0 and up to 1.
        buffer: batches of responses that are kept.

    Reference: Ko, Kim, Chen, Yun (2024), DistiLLM, arXiv:2402.03898, adaptive off-policy approach.

    Differs: the authors' code compares validation losses, with a slack of 0.1; here the score of the first validation
        loader decides, without slack.
    """

    def __init__(self, sampler: Sampler, *, growth: float = 0.1, buffer: int = 1000) -> None:
        super().__init__(sampler, fraction=0.0, buffer=buffer)
        self.growth = check_between("growth", growth, 1e-6, 1.0)
        self.before: float | None = None

    def replay_at(self, trainer: Trainer) -> float:
        return min(1.0, trainer.global_step / max(1, trainer.estimated_stepping_batches))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not isinstance(pl_module, DistillationModule) or not pl_module.scores:
            return
        name, now = next(iter(pl_module.scores.items()))
        if self.before is not None and (now < self.before) == higher_is_better(pl_module.pipeline, name):
            self.fraction = min(1.0, self.fraction + self.growth)
        self.before = now

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.before = state_dict["before"]


def written(sampler: Sampler, module: DistillationModule, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The batch with responses of the sampler to its prompts; the student has dropout only where it trains."""
    prompts = prompts_of(batch)
    with in_eval_mode(module.student_model):
        said = sampler.sample(module.student_model, getattr(module.teacher, "model", None), prompts)
    return as_batch(prompts, said)
