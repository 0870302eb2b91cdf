"""The original toolkit's training step, ported to Lightning 2.

From georgian-io/Knowledge-Distillation-Toolkit (Apache-2.0), commit ec07452, `KnowledgeDistillModel`: every step logs
each component and three totals into the progress bar, walks both models with eval() and train(), computes
a cosine loss and two differences that nobody asked for, and the teacher is among the optimiser's parameters.
Left out in its favour: the gradient norms that its Trainer tracks, and deterministic algorithms.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.lightning_fit import fit
from benchmarks.peers.pairs import LEARNING_RATE, SOFT_WEIGHT, TEMPERATURE, Pair
from benchmarks.peers.plain import flat


class Contract(nn.Module):
    """A model as the original wants it: probabilities at the temperature come out of it, and the student's loss."""

    def __init__(self, model: nn.Module, *, teaches: bool) -> None:
        super().__init__()
        self.model = model
        self.teaches = teaches

    def forward(self, images: Tensor, labels: Tensor, temperature: float = 1.0) -> dict[str, Any]:
        logits = self.model(images)
        softened = logits / temperature
        said = {"logits": logits, "prob": softened.softmax(dim=-1)}
        if self.teaches:
            return said
        own = {"student_loss": functional.cross_entropy(logits, labels)}
        return {**said, "log_prob": softened.log_softmax(dim=-1), "loss": own}


class KnowledgeDistillModel(LightningModule):
    """The original's module, without its validation."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.temperature = TEMPERATURE
        self.final_loss_coeff_dict = {"kd_loss": SOFT_WEIGHT, "student_loss": 1 - SOFT_WEIGHT}
        self.student_model = Contract(student, teaches=False)
        self.teacher_model = Contract(teacher, teaches=True)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        final_loss: Tensor
        final_loss, logit_diff, prob_diff, components = self(batch)
        shown: dict[str, Any] = {"on_step": True, "on_epoch": False, "prog_bar": True, "logger": True}
        for name, value in components.items():
            self.log(name, value, **shown)
        self.log("train_final_loss", final_loss, **shown)
        self.log("train_logit_diff", logit_diff, **shown)
        self.log("train_prob_diff", prob_diff, **shown)
        return final_loss

    def forward(self, batch: Any) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        self.teacher_model.eval()
        with torch.no_grad():
            taught = self.teacher_model(*batch, temperature=self.temperature)
        self.student_model.train()
        said = self.student_model(*batch, temperature=self.temperature)
        components = said["loss"]
        soft = functional.kl_div(said["log_prob"], taught["prob"], reduction="batchmean")
        components["kd_loss"] = soft * self.temperature**2
        alike = functional.cosine_similarity(said["logits"], taught["logits"], dim=-1)
        components["cos_embed_loss"] = 1 - torch.mean(alike)
        logit_diff = functional.mse_loss(said["logits"], taught["logits"])
        prob_diff = functional.l1_loss(said["prob"], taught["prob"])
        final_loss: Any = 0
        for name, coefficient in self.final_loss_coeff_dict.items():
            if name in components:
                final_loss = final_loss + coefficient * components[name]
        return final_loss, logit_diff, prob_diff, components

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE)


class Original:
    """The arm."""

    def __init__(self, pair: Pair) -> None:
        teacher, self.student = pair.build()
        self.module = KnowledgeDistillModel(self.student, teacher)

    def loss(self, batch: Any) -> Tensor:
        loss: Tensor = self.module(batch)[0]
        return loss

    def train(self, batches: Any) -> None:
        fit(self.module, batches)

    def weights(self) -> Tensor:
        return flat(self.student)
