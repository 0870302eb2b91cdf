"""A device that is asked for and is not there."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient

CARDS = ("gpu", "cuda")


def devices(patient: Patient) -> Iterator[Finding]:
    """The trainer asks for a GPU that is not there."""
    trainer = patient.plan.trainer
    accelerator = str(trainer.get("accelerator", "auto")).lower()
    asked = trainer.get("devices", "auto")
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    apple = torch.backends.mps.is_available()
    there = {"gpu": cards or int(apple), "cuda": cards, "mps": int(apple)}.get(accelerator)
    if there is None:
        return
    wanted = _count(asked)
    if there == 0 or wanted > there:
        yield Finding(
            "error",
            "A GPU is asked for that is not there." if there == 0 else "More GPUs are asked for than there are.",
            f"accelerator={accelerator!r}, devices={asked!r}; {there} found"
            + (f" (torch {torch.__version__} built without CUDA)." if torch.version.cuda is None else "."),
            "Training stops before its first step.",
            "Use accelerator='auto', or install the driver and a torch built for it.",
        )


def _count(asked: object) -> int:
    """The number of the last device that is asked for, counted from 1; 1 for "auto"."""
    if isinstance(asked, (list, tuple)):
        return max((int(index) for index in asked), default=-1) + 1
    text = str(asked)
    if "," in text:
        return max(int(index) for index in text.split(",") if index.strip()) + 1
    return max(1, int(text)) if text.lstrip("-").isdigit() else 1
