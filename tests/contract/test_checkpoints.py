"""H. Checkpoints and resuming: statements 49 to 54."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from knowledge_distillation.errors import CheckpointError
from knowledge_distillation.kd_training import KnowledgeDistillationTraining, KnowledgeDistillModel
from tests.contract.comet import FakeComet
from tests.contract.toy import (
    BATCHES,
    Accuracy,
    NoisyStudent,
    Scorer,
    Student,
    Teacher,
    inputs_loader,
    labelled_loader,
    loader_of,
    rows,
    same,
    student_from,
    train,
    training,
    weights,
)

UNTRAINED = 0.0
SCORES = (0.1, 0.5, 0.3, 0.4, 0.2)


def names(folder: str = "checkpoints") -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def scored(name: str, pipeline: Scorer, **changes: Any) -> KnowledgeDistillationTraining:
    """Five epochs of one batch, scored as the pipeline says."""
    loaders = {name: labelled_loader(4)}
    return train(
        max_epoch=5,
        train_data_loader=loader_of((rows(),)),
        val_data_loaders=loaders,
        inference_pipeline=pipeline,
        **changes,
    )


def stored(path: str | Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


@pytest.mark.parametrize("name", ["dev_accuracy", "mnist_test", "flowers", "cancer", "apples", "summary"])
def test_49_the_three_best_by_a_score_that_rises(name: str) -> None:
    """The original kept the three luckiest batches; keeping the lowest accuracies would ship the worst student."""
    scored(name, Scorer(UNTRAINED, *SCORES))
    best = {
        f"student-epoch=001-{name}=0.50000",
        f"student-epoch=003-{name}=0.40000",
        f"student-epoch=002-{name}=0.30000",
    }
    assert names() == {f"{stem}.ckpt" for stem in best} | {"last.ckpt"}


@pytest.mark.parametrize("name", ["dev_wer", "WER", "val-loss", "dev-clean_cer", "test/error"])
def test_49_the_three_best_by_a_score_that_falls(name: str) -> None:
    """A word error rate is better when lower; the highest three would be the worst."""
    scored(name, Scorer(UNTRAINED, *SCORES))
    shown = name.replace("/", "_")
    best = {
        f"student-epoch=000-{shown}=0.10000",
        f"student-epoch=004-{shown}=0.20000",
        f"student-epoch=002-{shown}=0.30000",
    }
    assert names() == {f"{stem}.ckpt" for stem in best} | {"last.ckpt"}


@pytest.mark.parametrize(("higher", "kept"), [(True, {1, 3, 2}), (False, {0, 4, 2})])
def test_49_the_pipelines_word_decides_the_direction(higher: bool, kept: set[int]) -> None:
    """The toolkit cannot know every metric's name."""
    pipeline = Scorer(UNTRAINED, *SCORES)
    pipeline.higher_is_better = higher  # type: ignore[attr-defined]
    scored("dev_wer", pipeline)
    assert {int(name[14:17]) for name in names() - {"last.ckpt"}} == kept


@pytest.mark.parametrize("name", ["dev", "dev_wer"])
def test_49_a_score_that_is_no_number_is_never_the_best(name: str) -> None:
    """One NaN in the night must not throw the best student away."""
    made = scored(name, Scorer(UNTRAINED, 0.5, math.nan, math.nan, 0.75, math.nan))
    best = 3 if name == "dev" else 0
    assert Path(made.trainer.checkpoint_callback.best_model_path).name.startswith(f"student-epoch=00{best}-")
    assert {f"student-epoch=000-{name}=0.50000.ckpt", f"student-epoch=003-{name}=0.75000.ckpt"} <= names()


def test_49_without_validation_the_mean_training_loss_of_the_epoch_decides() -> None:
    """The original looked at one batch: its best three were chance. Here the last batch and the mean disagree."""
    by_batch = [1.0, 1, 10, 9, 9, 3, 8, 8, 2, 5, 5, 5]
    student = Student(add=lambda logits: {"loss": {"given": logits.sum() * 0 + by_batch[len(student.calls) - 1]}})
    train(max_epoch=4, student_model=student, final_loss_coeff_dict={"given": 1})
    kept = {"000-train_final_loss=4.00000", "002-train_final_loss=6.00000", "003-train_final_loss=5.00000"}
    assert names() == {f"student-epoch={stem}.ckpt" for stem in kept} | {"last.ckpt"}


def test_49_the_first_of_several_loaders_decides() -> None:
    """Which score chose the best student must be plain to see in the file's name."""
    loaders = {"dev": labelled_loader(4), "test": labelled_loader(4)}
    train(val_data_loaders=loaders, inference_pipeline=Scorer(0.0, 0.0, 0.25, 0.75))
    assert names() == {"student-epoch=000-dev=0.25000.ckpt", "last.ckpt"}


def test_50_with_comet_checkpoints_lie_under_project_and_experiment(comet: type[FakeComet], comet_file: Path) -> None:
    """The original's scripts look for <project>/<experiment>/checkpoints/."""
    scored("dev", Scorer(UNTRAINED, *SCORES), log_to_comet=True, comet_info_path=str(comet_file))
    assert "student-epoch=001-dev=0.50000.ckpt" in names("speech-processing/experiment_key/checkpoints")
    assert not Path("checkpoints").exists()


def test_51_without_comet_checkpoints_lie_in_the_working_directory() -> None:
    """`last.ckpt` is what a user resumes from; it must hold the latest epoch, not the best."""
    made = scored("dev", Scorer(UNTRAINED, *SCORES))
    latest = stored("checkpoints/last.ckpt")
    assert latest["epoch"] == 4
    assert latest["global_step"] == 5
    kept = latest["state_dict"]["student_model.net.weight"]
    assert torch.equal(kept, made.get_student_model().net.weight)


def test_51_a_second_run_in_the_same_folder_keeps_the_first_ones_last_state() -> None:
    """A quick trial in the same folder must not take away what three days of training would be resumed from."""
    scored("dev", Scorer(UNTRAINED, *SCORES))
    last = stored("checkpoints/last.ckpt")["state_dict"]["student_model.net.weight"]
    train(student_model=Student(seed=5))
    kept = [stored(path)["state_dict"]["student_model.net.weight"] for path in Path("checkpoints").glob("*.ckpt")]
    assert any(torch.equal(weight, last) for weight in kept)


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_52_the_state_dict_holds_the_student_whatever_the_number_of_gpus(gpus: int) -> None:
    """A checkpoint from four GPUs must load on one; the original's keys differed."""
    module = KnowledgeDistillModel(num_gpu_used=gpus, student_model=Student(), teacher_model=Teacher())
    assert list(module.state_dict()) == ["student_model.net.weight", "student_model.net.bias"]


def test_52_the_file_holds_the_student_under_its_prefix() -> None:
    """Users cut "student_model." off to load a student elsewhere."""
    student = train().get_student_model()
    state = stored("checkpoints/last.ckpt")["state_dict"]
    assert state.keys() == {"student_model.net.weight", "student_model.net.bias"}
    assert torch.equal(state["student_model.net.weight"], student.net.weight)


def test_53_a_checkpoint_initialises_another_student() -> None:
    """The original's wav2vec2 demo starts its second distillation from the first one's checkpoint."""
    trained = train().get_student_model()
    state = stored("checkpoints/last.ckpt")["state_dict"]
    assert same(weights(student_from(state, seed=5)), weights(trained))


def of_the_original(
    student: Student, teacher: Teacher, *, buffers: Mapping[str, Tensor] | None = None, **progress: int
) -> dict[str, Any]:
    """What the original's Lightning wrote: both models, and at times hyperparameters as buffers."""
    state = {**(buffers or {})}
    for name, model in (("student_model", student), ("teacher_model", teacher)):
        state |= {f"{name}.{entry}": tensor for entry, tensor in model.state_dict().items()}
    return {**progress, "pytorch-lightning_version": "1.2.4", "state_dict": state}


@pytest.mark.parametrize("buffers", [True, False], ids=["0_or_many_gpus", "1_gpu"])
def test_53_a_checkpoint_of_the_original_loads(buffers: bool) -> None:
    """Students trained with the original lie in files that also hold the teacher and, at times, hyperparameters."""
    old, teacher = Student(seed=3), Teacher(seed=4)
    state: dict[str, Tensor] = {}
    if buffers:
        state |= {"max_epoch": torch.tensor(10), "lr": torch.tensor(0.1)}
        state |= {"num_lr_warm_up_epoch": torch.tensor(0), "temperature": torch.tensor(1)}
    torch.save(of_the_original(old, teacher, epoch=3, global_step=9, buffers=state), "old.ckpt")
    given_teacher = Teacher(seed=8)
    before = weights(given_teacher)
    module = KnowledgeDistillModel.load_from_checkpoint(
        "old.ckpt", num_gpu_used=None, student_model=Student(seed=9), teacher_model=given_teacher
    )
    assert same(weights(module.get_student_model()), weights(old))
    assert same(weights(given_teacher), before)


def shuffled(epochs: int, *, seed: int, validate: bool, resume: str | None = None) -> KnowledgeDistillationTraining:
    """A run in which everything draws: the order of the data, dropout, and the student's own two generators."""
    loaders = {"dev": labelled_loader(8)} if validate else None
    return train(
        max_epoch=epochs,
        train_data_loader=inputs_loader(shuffle=True),
        val_data_loaders=loaders,
        inference_pipeline=Accuracy() if validate else None,
        student_model=NoisyStudent(seed=seed),
        learning_rate=0.05,
        scheduler_method="linear_decay_with_warm_up",
        num_lr_warm_up_epoch=2,
        resume_from_checkpoint=resume,
    )


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("validate", [True, False], ids=["validated", "not_validated"])
def test_54_a_resumed_run_ends_where_the_uninterrupted_one_does(
    validate: bool, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash in the night the rest of the training must be the same training, to the bit."""
    whole = shuffled(3, seed=1, validate=validate)
    (second,) = workplace.glob("checkpoints/student-epoch=001-*")
    (workplace / "again").mkdir()
    monkeypatch.chdir(workplace / "again")
    again = shuffled(3, seed=2, validate=validate, resume=str(second))
    assert (again.trainer.current_epoch, again.trainer.global_step) == (3, 3 * BATCHES)
    ends = [stored(folder / "checkpoints" / "last.ckpt") for folder in (workplace, workplace / "again")]
    assert ends[0]["lr_schedulers"] == ends[1]["lr_schedulers"]
    assert same(weights(again.get_student_model()), weights(whole.get_student_model()))
    for left, right in zip(*(end["optimizer_states"][0]["state"].values() for end in ends), strict=True):
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_54_a_longer_plan_continues_the_schedule() -> None:
    """Resuming must not begin the warm-up again or set the rate back."""
    train(max_epoch=2, scheduler_method="cosine_anneal", learning_rate=1e-3, optimize_method="sgd")
    made = train(
        max_epoch=3,
        scheduler_method="cosine_anneal",
        learning_rate=1e-3,
        optimize_method="sgd",
        resume_from_checkpoint="checkpoints/last.ckpt",
    )
    (optimizer,) = made.trainer.optimizers
    assert optimizer.param_groups[0]["lr"] == pytest.approx(7.503e-4, rel=5e-4)
    assert made.trainer.current_epoch == 3


def test_54_a_run_of_the_original_is_refused_by_name() -> None:
    """Its optimiser also held the teacher; a message about parameter groups does not tell the user what to do."""
    old, teacher = Student(seed=3), Teacher(seed=4)
    optimizer = torch.optim.Adam([*old.parameters(), *teacher.parameters()], lr=1e-4)
    old(rows())["logits"].sum().backward()
    optimizer.step()
    kept = of_the_original(old, teacher, epoch=1, global_step=BATCHES)
    torch.save({**kept, "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [], "callbacks": {}}, "old.ckpt")
    student = Student()
    before = weights(student)
    with pytest.raises(CheckpointError, match=r"old\.ckpt is the original toolkit's.*load_from_checkpoint"):
        training(max_epoch=3, student_model=student, resume_from_checkpoint="old.ckpt").start_kd_training()
    assert same(weights(student), before)


def test_54_resuming_reads_only_plain_data() -> None:
    """A checkpoint from a colleague must not be able to run code."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (Path("owned"),))

    train()
    checkpoint = stored("checkpoints/last.ckpt")
    torch.save({**checkpoint, "extra": Evil()}, "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"evil\.ckpt cannot be read safely"):
        training(resume_from_checkpoint="evil.ckpt").start_kd_training()
    assert not Path("owned").exists()
