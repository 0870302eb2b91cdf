"""A. Construction: statements 1 to 10."""

from __future__ import annotations

import inspect
import random
from collections import ChainMap
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
import yaml

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.kd_training import KnowledgeDistillationTraining, KnowledgeDistillModel
from tests.contract.toy import (
    BATCHES,
    Scorer,
    Student,
    Teacher,
    column,
    inputs_loader,
    labelled_loader,
    rows,
    same,
    train,
    training,
    weights,
    written,
)

DEFAULTS: dict[str, Any] = {
    "num_gpu_used": 0,
    "max_epoch": 10,
    "optimize_method": "adam",
    "scheduler_method": "",
    "learning_rate": 0.0001,
    "num_lr_warm_up_epoch": 0,
    "final_loss_coeff_dict": {"kd_loss": 1},
    "log_to_comet": False,
    "comet_info_path": "",
    "comet_exp_name": "",
    "temperature": 1,
    "seed": 32,
    "track_grad_norm": 2,
    "accumulate_grad_batches": 1,
    "accelerator": None,
    "num_nodes": 1,
    "precision": 16,
    "deterministic": True,
    "resume_from_checkpoint": None,
    "train_data_loader": None,
    "val_data_loaders": None,
    "inference_pipeline": None,
    "student_model": None,
    "teacher_model": None,
    "logging_param": None,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_01_every_argument_has_the_originals_default(name: str) -> None:
    """A script that leaves an argument out would silently train with another setting."""
    parameter = inspect.signature(KnowledgeDistillationTraining).parameters[name]
    assert parameter.default == DEFAULTS[name]
    assert type(parameter.default) is type(DEFAULTS[name]) or name == "final_loss_coeff_dict"


def test_01_no_argument_is_added_missing_or_moved() -> None:
    """A positional call would put a value into the wrong argument, a keyword call would be refused."""
    parameters = inspect.signature(KnowledgeDistillationTraining).parameters
    assert list(parameters) == list(DEFAULTS)
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def test_02_the_first_ten_arguments_work_by_position() -> None:
    """Scripts of the original's first release give ten values by position; a moved one trains something else."""
    made = KnowledgeDistillationTraining(
        0, 2, "sgd", "linear_decay_with_warm_up", 0.5, 2, {"kd_loss": 1, "cos_embed_loss": 2}, False, "", "",
        precision=32, train_data_loader=inputs_loader(), student_model=Student(), teacher_model=Teacher(),
    )  # fmt: skip
    made.trainer.progress_bar_callback.disable()
    made.start_kd_training()
    assert made.trainer.global_step == 2 * BATCHES
    assert column("lr-SGD") == pytest.approx([0.25, 0.5])
    total = [kd + 2 * cos for kd, cos in zip(column("kd_loss"), column("cos_embed_loss"), strict=True)]
    assert column("train_final_loss") == pytest.approx(total)


@pytest.mark.parametrize("nothing", ["", None])
def test_03_no_checkpoint_means_a_fresh_run(nothing: str | None) -> None:
    """The README's default "" would be taken for a path and the run would stop, or resume something else."""
    made = train(resume_from_checkpoint=nothing, max_epoch=2)
    assert made.trainer.global_step == 2 * BATCHES
    assert made.trainer.ckpt_path is None


@pytest.mark.parametrize("seed", [32, 7])
def test_04_the_constructor_seeds_every_generator(seed: int) -> None:
    """Two runs of one script would differ, so no result could be repeated."""
    training(seed=seed)
    drawn = random.random(), np.random.rand(), torch.rand(()).item()
    expected = torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
    assert drawn == (random.Random(seed).random(), np.random.RandomState(seed).rand(), expected)


def test_05_the_trainer_and_the_module_are_exposed() -> None:
    """Users reach into `.trainer` and `.pytorch_lightning_module` for callbacks, scores and models."""
    student, teacher = Student(), Teacher()
    made = training(student_model=student, teacher_model=teacher)
    assert isinstance(made.trainer, lightning.pytorch.Trainer)
    assert isinstance(made.pytorch_lightning_module, KnowledgeDistillModel)
    assert isinstance(made.pytorch_lightning_module, lightning.pytorch.LightningModule)
    assert made.pytorch_lightning_module.student_model is student
    assert made.pytorch_lightning_module.teacher_model is teacher


def test_06_start_kd_training_runs_everything_and_returns_none() -> None:
    """One call must train for every epoch asked for; a partial run would look like a finished one."""
    made = training(max_epoch=3)
    assert list(inspect.signature(made.start_kd_training).parameters) == []
    assert made.start_kd_training() is None
    assert made.trainer.current_epoch == 3
    assert made.trainer.global_step == 3 * BATCHES


def test_07_the_student_is_trained_in_place() -> None:
    """A user who keeps the module that was passed in would ship an untrained copy."""
    student = Student()
    before = weights(student)
    made = training(student_model=student)
    assert made.get_student_model() is student
    made.start_kd_training()
    assert made.get_student_model() is student
    assert not same(before, weights(student))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("optimize_method", "Could not find optimizer 'nothing'"),
        ("scheduler_method", "Could not find scheduler 'nothing'"),
    ],
)
def test_08_unknown_names_are_refused_in_the_constructor(argument: str, message: str, workplace: Path) -> None:
    """The original noticed a misspelt optimiser only when training started, after all data had been prepared."""
    with pytest.raises(ConfigError, match=message):
        training(**{argument: "nothing"})
    assert written(workplace) == []


def test_09_arguments_come_from_yaml_through_chain_maps() -> None:
    """The original's demos unpack a ChainMap of YAML sections and pass another as logging_param."""
    config = yaml.safe_load(
        """
        optimization: {max_epoch: 1, optimize_method: sgd, scheduler_method: "", learning_rate: 0.5}
        pytorch_lightning_trainer: {seed: 5, track_grad_norm: 2, accelerator: null, precision: 32}
        comet_info: {log_to_comet: false, comet_info_path: "", comet_exp_name: ""}
        final_loss_coeff: {kd_loss: 1, cos_embed_loss: 0}
        """
    )
    logged = ChainMap(config["optimization"], config["pytorch_lightning_trainer"], config["final_loss_coeff"])
    made = KnowledgeDistillationTraining(
        train_data_loader=inputs_loader(),
        student_model=Student(),
        teacher_model=Teacher(),
        final_loss_coeff_dict=config["final_loss_coeff"],
        logging_param=logged,
        **ChainMap(config["optimization"], config["pytorch_lightning_trainer"], config["comet_info"]),
    )
    made.trainer.progress_bar_callback.disable()
    made.start_kd_training()
    assert column("lr-SGD") == [0.5]
    assert yaml.safe_load(Path("lightning_logs/version_0/hparams.yaml").read_text()) == dict(logged)


def test_10_the_module_trains_in_a_users_own_trainer() -> None:
    """KnowledgeDistillModel is public: some users build it themselves, with their own Lightning Trainer."""
    student = Student()
    before = weights(student)
    module = KnowledgeDistillModel(
        num_gpu_used=0,
        max_epoch=1,
        temperature=2,
        optimize_method="sgd",
        scheduler_method="",
        learning_rate=0.1,
        num_lr_warm_up_epoch=0,
        final_loss_coeff_dict={"kd_loss": 1},
        train_data_loader=inputs_loader(),
        val_data_loaders={"dev": labelled_loader()},
        inference_pipeline=Scorer(0.75),
        student_model=student,
        teacher_model=Teacher(),
    )
    trainer = lightning.pytorch.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module)
    assert float(trainer.callback_metrics["dev"]) == 0.75
    assert module.get_student_model() is student
    assert not same(before, weights(student))


@pytest.mark.parametrize(
    "dummy", [{"optimize_method": None}, {"learning_rate": 0}, {"temperature": 0}], ids=lambda dummy: next(iter(dummy))
)
def test_10_dummy_settings_are_for_inference_only(dummy: dict[str, Any]) -> None:
    """Trained with 0 or None, the user would get an optimiser, a rate or a temperature that the toolkit made up."""
    module = KnowledgeDistillModel(
        **{"temperature": 1, "optimize_method": "sgd", "learning_rate": 0.1, **dummy},
        train_data_loader=inputs_loader(),
        student_model=Student(),
        teacher_model=Teacher(),
    )
    trainer = lightning.pytorch.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=next(iter(dummy))):
        trainer.fit(module)


def test_10_a_checkpoint_loads_for_inference_with_dummy_settings() -> None:
    """The original's inference script fills every setting with None or 0; it must get the trained student."""
    trained = train().get_student_model()
    student = Student(seed=9)
    module = KnowledgeDistillModel.load_from_checkpoint(
        "checkpoints/last.ckpt",
        num_gpu_used=None,
        max_epoch=0,
        temperature=0,
        optimize_method=None,
        scheduler_method=None,
        learning_rate=0,
        num_lr_warm_up_epoch=0,
        final_loss_coeff_dict=None,
        train_data_loader=None,
        val_data_loaders=None,
        inference_pipeline=None,
        student_model=student,
        teacher_model=Teacher(),
    )
    assert module.student_model is student
    assert same(weights(student), weights(trained))
    assert torch.equal(student(rows())["logits"], trained(rows())["logits"])
