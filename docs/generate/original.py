"""The 25 arguments of the original toolkit: what each means, and what says the same today."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from docs.generate import docstrings
from docs.generate.markdown import code, escaped, table
from docs.generate.signatures import default
from knowledge_distillation.kd_training import KnowledgeDistillationTraining

TODAY: Mapping[str, tuple[str, str]] = {
    "num_gpu_used": ("int", '`trainer={"accelerator": "gpu", "devices": 2}`; without it Lightning takes what is there'),
    "max_epoch": ("int", "`max_epochs=10`"),
    "optimize_method": ("str, class or mapping", '`optimizer="adam"`'),
    "scheduler_method": ("str or callable", '`schedule="cosine_anneal"`'),
    "learning_rate": ("float", "`learning_rate=1e-4`"),
    "num_lr_warm_up_epoch": ("int", "`warm_up_epochs=2`"),
    "final_loss_coeff_dict": ("dict", '`objective={"kd": 0.9, "cosine": 0.1}`; any loss by name, or `kd.Term`'),
    "log_to_comet": ("bool", '`track=("comet",)`'),
    "comet_info_path": ("str", "the environment variable `COMET_API_KEY`"),
    "comet_exp_name": ("str", '`directory="runs/my-experiment"`: the last part is the experiment\'s name'),
    "temperature": ("float", '`objective={"kd": {"temperature": 4}}`: it belongs to the loss'),
    "seed": ("int", "`seed=32`"),
    "track_grad_norm": ("float", "`kd.DistillationModule(..., gradient_norm=2.0)` with your own `lightning.Trainer`"),
    "accumulate_grad_batches": ("int", '`trainer={"accumulate_grad_batches": 4}`'),
    "accelerator": ("str or None", '`trainer={"accelerator": "gpu", "strategy": "ddp"}`'),
    "num_nodes": ("int", '`trainer={"num_nodes": 2}`'),
    "precision": ("int or str", '`trainer={"precision": "16-mixed"}`'),
    "deterministic": ("bool", '`trainer={"deterministic": True}`'),
    "resume_from_checkpoint": ("str or None", '`resume="auto"`, or the path of a checkpoint'),
    "train_data_loader": ("iterable", "`train_loader`, the third argument"),
    "val_data_loaders": ("dict", "`val_loaders`, the fourth argument"),
    "inference_pipeline": ("object", "`pipeline=...`; the same protocol, accuracy if left out"),
    "student_model": ("nn.Module or callable", "`student`, the second argument"),
    "teacher_model": ("nn.Module", "`teacher`, the first argument"),
    "logging_param": ("mapping or None", "none needed: `recipe.yaml` in the run's directory records every setting"),
}
"""Argument -> its type in words, and the argument of `kd.distill` that says the same."""


def original_arguments() -> str:
    """The table, in the order of the signature; defaults and meanings come from the code."""
    meanings = docstrings.read(KnowledgeDistillationTraining).entries("Args")
    parameters = inspect.signature(KnowledgeDistillationTraining).parameters
    rows = [
        (
            str(number),
            code(name),
            TODAY[name][0],
            code(default(parameter.default)),
            escaped(meanings[name]),
            TODAY[name][1],
        )
        for number, (name, parameter) in enumerate(parameters.items(), start=1)
    ]
    return table(("", "Argument", "Type", "Default", "Meaning", "In `kd.distill`"), rows)
