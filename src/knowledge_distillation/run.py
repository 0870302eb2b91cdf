"""`distill`: a teacher and data go in; a run with a trained student comes out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save_file, save_model
from torch import nn

from knowledge_distillation.accepted import check_accepted, check_whole
from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.doctor import preflight
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.arms import CONTROL
from knowledge_distillation.evaluation.comparison import Comparison
from knowledge_distillation.evaluation.result import Evaluation
from knowledge_distillation.export import Exported
from knowledge_distillation.reporting import write_report
from knowledge_distillation.run_comparison import Finished, compare_run
from knowledge_distillation.run_evaluation import evaluate_run
from knowledge_distillation.run_export import export_run
from knowledge_distillation.teachers import Teacher
from knowledge_distillation.training.bare import planned_end
from knowledge_distillation.training.continuing import KEY
from knowledge_distillation.training.durable_files import whole
from knowledge_distillation.training.fitting import check_checkpoint, fit, score_at_end
from knowledge_distillation.training.loaders import loader_for, loader_length
from knowledge_distillation.training.metrics_file import MetricsFile, best_values
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.optimizers import OptimizerFactory
from knowledge_distillation.training.pipelines import InferencePipeline, higher_is_better
from knowledge_distillation.training.plan import TrainingPlan, drawn, weights_mark
from knowledge_distillation.training.planning import check_arguments
from knowledge_distillation.training.run_directory import (
    RECIPE,
    checkpoint_to_resume,
    environment_facts,
    open_directory,
    plain,
    shown_to_ranks,
)
from knowledge_distillation.training.run_lock import RunLock
from knowledge_distillation.training.schedules import ScheduleSpec
from knowledge_distillation.training.sharding import full_weights
from knowledge_distillation.training.tracking import check_trackers, trackers
from knowledge_distillation.training.trainer import make_trainer


@dataclass(frozen=True, slots=True)
class Run:
    """What one training left behind.

    Attributes:
        student: the very module that was passed in, trained, on the device it trained on; inside a module that answers
            through it where the objective leaves parts in the student for good, as "simkd" does.
        scores: validation loader name -> the student's score after the last step.
        directory: holds recipe.yaml, environment.json, metrics.csv, checkpoints/ and student.safetensors.
        module: the Lightning module, with the objective and its learned parts.
        plan: what it was trained by, as it was before; None for a run that cannot be trained again.
        finished: what it can stand for in a comparison; None with the plan.
    """

    student: nn.Module
    scores: Mapping[str, float]
    directory: Path
    module: DistillationModule = field(repr=False)
    plan: TrainingPlan | None = field(default=None, repr=False)
    finished: Finished | None = field(default=None, repr=False)

    @property
    def best_scores(self) -> Mapping[str, float]:
        """Validation loader name -> the score after its best epoch, as many papers report it, beside `scores`.

        The epoch is chosen on the very data that it is scored on, which flatters it; empty where nothing was logged.
        """
        better = {name: higher_is_better(self.module.pipeline, name) for name in self.scores}
        return best_values(self.directory / "metrics.csv", better)

    def compare(
        self,
        seeds: int | Sequence[int] = 3,
        *,
        arms: Sequence[str] = (CONTROL,),
        equal: Literal["both", "steps"] = "both",
        metric: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Comparison:
        """Train the same student with and without the teacher for several seeds: did distillation help?

        A seed gives both arms the same starting weights, order of the data, dropout and number of steps. The control
        learns from the terms of the objective that need no teacher; where there are none, from the student's own loss
        or the labels of the batches; where there is nothing, it is the untrained student, and the notes say so. This
        run is the distilled arm of its own seed wherever it is a pair of the control. Arms validate only at their end.

        Writes comparison.json, and the control student of the first seed as control.safetensors, into the directory.
        What was trained before a comparison breaks off is kept there, and the next one of this run goes on after it.

        Args:
            seeds: how many pairs, >= 2, counted from this run's seed; or the seeds themselves.
            arms: further arms to compare with the control: "label_smoothing", or any objective (`kd list objectives`)
                or loss. "labels" is the control, which is always there.
            equal: "both" compares at equal steps and once more with a control that trains for as long as the distilled
                student did, with its schedule planned for that; "steps" leaves the second out.
            metric: the validation loader whose score is compared; default: the first.
            progress: called with a line before each training and, indented, its score after it; default: logged.

        Returns:
            The `Comparison`. Its verdict rests on the 95% paired t interval.

        Raises:
            ConfigError: if there are fewer than 2 seeds or no validation loader, an arm is unknown, a score is no
                finite number, the seeds make no difference, or the run cannot be trained again.
        """
        if self.plan is None or self.finished is None:
            raise ConfigError(
                "This run cannot be trained again: it was read back from its directory, or made its data as it learnt. "
                "Compare in the program that distils, or with `kd compare RECIPE`."
            )
        return compare_run(
            self.plan, self.finished, self.directory, seeds, arms=arms, equal=equal, metric=metric, progress=progress
        )

    def evaluate(
        self,
        loader: Iterable[Any] | None = None,
        *,
        metric: str | None = None,
        models: Mapping[str, Any] | None = None,
        **measures: Any,
    ) -> Evaluation:
        """Measure teacher, student, control and exported files on the same data in the same way.

        The control is the one that `compare` left; the exported files are those under exports/. Writes evaluation.json.

        Args:
            loader: validation data; default: the run's own validation loader.
            metric: which of the run's validation loaders; default: the first.
            models: further models by name.
            measures: what else `evaluation.evaluate` takes: corruptions, slices, batch_sizes, energy, ...

        Raises:
            ConfigError: if there is nothing to measure on, or an argument is wrong.
            CheckpointError: if control.safetensors is not the control of this run.
        """
        return evaluate_run(
            self.plan,
            self.module.teacher,
            self.student,
            self.directory,
            loader,
            metric=metric,
            models=models,
            measures=measures,
        )

    def export(self, form: str = "onnx", **settings: Any) -> Exported:
        """Write the student into exports/FORM, load the file again, and prove that it answers as the student does.

        Args:
            form: "safetensors", "onnx", "torch_export", "int8" or "int8_torch".
            settings: what else `export.export` takes; default: the run's first validation loader, or its train loader,
                to compare on, the train loader to calibrate on, its pipeline and its adapter.

        Raises:
            ConfigError: if an argument is wrong.
            ExportError: if the form cannot express the student, or the file differs from it beyond the tolerance.
            MissingExtraError: if the form's package is not installed.
        """
        return export_run(self.plan, self.student, self.directory, form, settings)

    def report(self, *, title: str | None = None) -> Path:
        """Write all that is known of the run on one page: report.html, with report.md and report.json beside it.

        What was not measured yet is measured first, as by `evaluate`, where there is validation data.

        Returns:
            The path of report.html.

        Raises:
            MissingExtraError: if the extra `report` is not installed.
        """
        measurable = self.plan is not None and self.plan.val_loaders
        if measurable and not (self.directory / "evaluation.json").is_file():
            self.evaluate()
        return write_report(self.directory, title=title)


def distill(
    teacher: Teacher | nn.Module | None,
    student: nn.Module | Callable[[], nn.Module],
    train_loader: Iterable[Any],
    val_loaders: Mapping[str, Any] | None = None,
    *,
    pipeline: InferencePipeline | None = None,
    objective: Any = "kd",
    max_epochs: int = 10,
    optimizer: str | OptimizerFactory | Mapping[str, Any] = "adamw",
    learning_rate: float = 1e-3,
    schedule: ScheduleSpec = "",
    warm_up_epochs: float = 0.0,
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
    temperature: float = 1.0,
    directory: str | Path | None = None,
    resume: str | Path | None = None,
    checkpoint_every: int | None = None,
    nonfinite: str = "stop",
    seed: int = 0,
    track: Sequence[str] = (),
    speed: str | Mapping[str, Any] = "off",
    doctor: bool = True,
    trainer: Mapping[str, Any] | None = None,
) -> Run:
    """Train the student to do what the teacher does, and write the run to a directory.

    Args:
        teacher: an nn.Module, a `Teacher`, or None with an objective that needs none ("labels").
        student: the module to train, in place; or a callable that builds it, called once the seed is set.
        train_loader: yields tensors, (inputs, labels) or dicts; see `capture.adapters.auto`.
        val_loaders: name -> loader; each is scored whole after every epoch.
        pipeline: scores the student on a loader; default: accuracy.
        objective: a preset (`kd list objectives`), a loss name, a loss, or named terms.
        max_epochs: epochs to train, >= 1.
        optimizer: name, mapping with "name" and settings, or torch.optim class.
        learning_rate: > 0.
        schedule: learning-rate schedule by name, a mapping with "name" and settings, or a callable.
        warm_up_epochs: epochs of warm-up for the schedule.
        adapter: how to call the models; see `capture.adapters`.
        temperature: handed to the adapters; the losses have their own.
        directory: where the run is written; default: the next free runs/run-NNN.
        resume: None for a fresh run, "auto" for the newest whole checkpoint of the directory, or a checkpoint's path.
            The run goes on exactly as it would have, within an epoch too.
        checkpoint_every: optimiser steps between two last.ckpt within an epoch; default: one every ten minutes. One is
            written at every epoch's end in any case, and on Ctrl-C and SIGTERM when the step is done.
        nonfinite: what a loss or gradient of NaN or infinity means: "stop", "skip" the step, or "rollback" to
            last.ckpt; ten in a row stop in any case.
        seed: seeds Python, NumPy and torch, and the loaders' workers.
        track: trackers besides the CSV file: "tensorboard", "comet", "wandb", "mlflow".
        speed: "off" changes nothing; "auto" tries faster settings on the first batch, keeps those that give the same
            loss, and prints which; a mapping sets them, such as {"channels_last": True}; see `training.speed.Settings`.
        doctor: look for silent mistakes before the first step, in the quick form; findings go to the log and to
            doctor.json, and nothing is refused.
        trainer: any argument of `lightning.Trainer`: accelerator, devices, strategy, precision,
            accumulate_grad_batches, gradient_clip_val, ...

    Returns:
        The `Run`.

    Raises:
        ConfigError: if an argument is wrong, the train loader is empty, or the directory holds another run.
        CheckpointError: if there is nothing to resume from.
    """
    check_arguments(train_loader, val_loaders, max_epochs, seed)
    plain = {"directory": directory, "resume": resume, "track": track, "doctor": doctor, "trainer": trainer}
    check_accepted("distill", distill, plain)
    check_trackers(track)
    if checkpoint_every is not None:
        check_whole("checkpoint_every", checkpoint_every, unit="steps")
    resume = resume or None
    plan = TrainingPlan(
        teacher=teacher,
        student=student,
        train_loader=train_loader,
        val_loaders=val_loaders,
        pipeline=pipeline,
        objective=objective,
        max_epochs=max_epochs,
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule=schedule,
        warm_up_epochs=warm_up_epochs,
        adapter=adapter,
        temperature=temperature,
        seed=seed,
        speed=speed,
        trainer=trainer or {},
        nonfinite=nonfinite,
    )
    module = plan.module()
    given, plan = plan.trainer, plan.kept()
    run_directory = open_directory(directory, resume)
    with RunLock(run_directory):
        if doctor and resume is None:
            _look(plan, module.student_model, run_directory)
        return _train(plan, module, run_directory, resume, given, track=track, checkpoint_every=checkpoint_every)


@rank_zero_only
def _look(plan: TrainingPlan, student: nn.Module, run_directory: Path) -> None:
    """The doctor's quick examination of what is about to be trained."""
    names = (
        "pipeline", "objective", "adapter", "temperature", "optimizer", "learning_rate", "schedule", "max_epochs",
        "warm_up_epochs", "trainer",
    )  # fmt: skip
    known = {name: getattr(plan, name) for name in names}
    preflight(plan.teacher, student, plan.train_loader, plan.val_loaders, directory=run_directory, **known)


def _train(
    plan: TrainingPlan,
    module: DistillationModule,
    run_directory: Path,
    resume: str | Path | None,
    overrides: Mapping[str, Any],
    *,
    track: Sequence[str],
    checkpoint_every: int | None,
) -> Run:
    checkpoint = checkpoint_to_resume(run_directory, resume)
    rows = 0 if resume else None
    if checkpoint:
        rows = check_checkpoint(checkpoint, module).get(KEY, {}).get("rows")
    seed_everything(plan.seed, workers=True, verbose=False)
    loggers = [MetricsFile(run_directory, rows), *trackers(track, run_directory, run_directory.name)]
    engine = make_trainer(
        run_directory,
        max_epochs=plan.max_epochs,
        loggers=loggers,
        metric=next(iter(module.val_loaders), None),
        pipeline=module.pipeline,
        steps_per_epoch=loader_length(plan.train_loader),
        overrides=overrides,
        checkpoint_every=checkpoint_every,
    )
    if engine.is_global_zero:
        with whole(run_directory / RECIPE) as file:
            file.write_text(yaml.safe_dump(_settings(plan, module), sort_keys=False), encoding="utf-8")
    started = time.monotonic()
    with shown_to_ranks(run_directory):
        fit(engine, module, loader_for(module.teacher, plan.train_loader), checkpoint)
        numbers = drawn()
        score_at_end(engine, module)
    finished = Finished(
        scores=dict(module.scores),
        steps=engine.global_step,
        drawn=numbers,
        is_whole=checkpoint is None and module.scored_after == engine.global_step and planned_end(engine),
        weights=weights_mark(module.finished_student),
    )
    # sharded models are put together by all processes
    fingerprint = None if module.teacher is None else module.teacher.fingerprint
    weights = full_weights(module.finished_student)
    if engine.is_global_zero:
        with whole(run_directory / "student.safetensors") as file:
            if weights is None:
                save_model(module.finished_student, str(file))
            else:
                save_file(weights, str(file))
        environment = {
            **environment_facts(),
            "seed": plan.seed,
            "teacher": fingerprint,
            "seconds": round(time.monotonic() - started, 3),
            "scores": module.scores,
            "speed": asdict(module.speed.chosen),
            "interrupted": engine.interrupted,
        }
        with whole(run_directory / "environment.json") as file:
            file.write_text(json.dumps(environment, indent=2), encoding="utf-8")
    return Run(
        student=module.finished_student,
        scores=dict(module.scores),
        directory=run_directory,
        module=module,
        plan=replace(plan, speed=module.speed.chosen) if plan.speed == "auto" else plan,
        finished=finished,
    )


def _settings(plan: TrainingPlan, module: DistillationModule) -> dict[str, Any]:
    """What recipe.yaml says of a run."""
    names = (
        "max_epochs", "optimizer", "learning_rate", "schedule", "warm_up_epochs", "adapter", "temperature", "seed",
        "speed", "nonfinite", "trainer",
    )  # fmt: skip
    return {
        "objective": {name: plain(term) for name, term in module.objective.terms.items()},
        "training": {name: plain(getattr(plan, name)) for name in names},
        "teacher": plain(plan.teacher),
        "student": plain(module.student_model),
    }
