"""What goes wrong for a user when the control arm differs from the distilled one in more than the teacher."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import knowledge_distillation as kd
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.losses import KD, CrossEntropy
from knowledge_distillation.teachers import EMATeacher
from tests.training.toys import CLASSES, FEATURES, QUIET, Scripted, filled, identical, mlp, snapshot

TRUTH = torch.randn(FEATURES, CLASSES, generator=torch.Generator().manual_seed(5))


def learnable(count: int, seed: int) -> TensorDataset:
    inputs = torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, (inputs @ TRUTH).argmax(-1))


def student() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, CLASSES))


def train(directory: Path, **changes: Any) -> kd.Run:
    arguments: dict[str, Any] = {
        "teacher": mlp(9),
        "student": student,
        "train_loader": DataLoader(learnable(48, 1), batch_size=8, shuffle=True),
        "val_loaders": {"test": DataLoader(learnable(200, 2), batch_size=50)},
        "max_epochs": 2,
        "learning_rate": 0.03,
        "directory": directory,
        "trainer": {},
        **changes,
    }
    return kd.distill(**{**arguments, "trainer": {**QUIET, **arguments["trainer"]}})


class Seen:
    """An adapter that keeps what every call saw and whose call it was."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def __call__(self, model: nn.Module, batch: Any, temperature: float) -> kd.Signals:
        inputs, labels = batch
        if torch.is_grad_enabled():
            self.batches.append(inputs.clone())
        return kd.Signals(logits=model(inputs), labels=labels)


def test_a_run_says_whether_the_teacher_helped_and_writes_it_down(tmp_path: Path) -> None:
    """Otherwise nobody knows what the teacher was worth, or the report has nothing to show."""
    run = train(tmp_path / "run")
    before = snapshot(run.student)
    found = run.compare(seeds=2, arms=("labels", "label_smoothing", "dkd"))
    assert found.seeds == (0, 1)
    assert (found.metric, found.control) == ("test", "the same student trained on cross_entropy alone, at equal steps")
    assert found.steps == {"with_teacher": 12, "without_teacher": 12}
    assert set(found.arms) == {"label_smoothing", "dkd"}
    assert found.at_equal_time is not None
    assert found.at_equal_time.steps["without_teacher"] >= 12
    written = json.loads((run.directory / "comparison.json").read_text())
    assert written == json.loads(json.dumps(found.as_dict()))
    assert identical(snapshot(run.student), before)
    assert run.directory.joinpath("metrics.csv").exists()


def test_the_control_is_the_training_that_one_would_write_oneself(tmp_path: Path) -> None:
    """Otherwise the control is another training than plain training."""
    found = train(tmp_path / "run").compare(seeds=3, equal="steps")
    for seed, score in zip(found.seeds, found.without_teacher, strict=True):
        alone = train(tmp_path / f"alone-{seed}", teacher=None, objective="labels", seed=seed)
        assert alone.scores["test"] == score
        if seed == 0:
            stored = load_file(tmp_path / "run" / "control.safetensors")
            assert identical(stored, snapshot(alone.student))
        taught = train(tmp_path / f"taught-{seed}", seed=seed)
        assert taught.scores["test"] == found.with_teacher[seed]


@pytest.mark.parametrize(
    ("changes", "trainings"),
    [
        ({}, 1),
        ({"trainer": {"check_val_every_n_epoch": 3}}, 1),  # scored at its end all the same
        ({"trainer": {"limit_val_batches": 0}}, 2),
        ({"trainer": {"callbacks": [EarlyStopping("test", mode="max", patience=9)]}}, 2),
    ],
)
def test_a_finished_run_is_trained_again_only_where_it_is_no_pair(
    tmp_path: Path, changes: dict[str, Any], trainings: int
) -> None:
    """Otherwise an hour is spent twice; or a run that ended early is paired with one that did not."""
    lines: list[str] = []
    train(tmp_path / "run", **changes).compare(seeds=2, equal="steps", progress=lines.append)
    assert sum("distilled" in line for line in lines) == trainings


@pytest.mark.parametrize("limits", [{"max_steps": 4}, {"max_steps": 8}])
def test_a_training_that_ends_within_an_epoch_is_scored_all_the_same(tmp_path: Path, limits: dict[str, Any]) -> None:
    """Otherwise it has no scores, or those of a student that it no longer is."""
    run = train(tmp_path / "run", trainer=limits)
    inputs, labels = learnable(200, 2).tensors
    run.student.eval()
    right = (run.student(inputs).argmax(-1) == labels).float().mean()
    assert run.scores["test"] == pytest.approx(float(right))
    rows = [line for line in (run.directory / "metrics.csv").read_text().splitlines()[1:] if line]
    assert len(rows) >= 2


def test_both_arms_see_the_same_batches_though_the_objective_draws(tmp_path: Path) -> None:
    """Otherwise a loss with random masks shuffles the data of its own arm."""

    def noisy(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return (torch.rand(1) * (student_logits - teacher_logits) ** 2).mean()

    seen = Seen()
    run = train(tmp_path / "run", objective={"noisy": noisy, "cross_entropy": 1.0}, adapter=seen)
    seen.batches.clear()
    lines: list[str] = []
    found = run.compare(seeds=2, equal="steps", progress=lines.append)
    assert [line.rpartition(": ")[2] for line in lines if line.startswith("seed")] == [
        "without the teacher",
        "distilled",
    ] * 2
    arms = [torch.stack(seen.batches[start : start + 12]) for start in range(0, 48, 12)]
    assert torch.equal(arms[0], arms[1])
    assert torch.equal(arms[2], arms[3])
    assert not torch.equal(arms[0], arms[2])
    assert not any("batches" in note for note in found.notes)


def test_both_arms_see_the_same_batches_though_the_objective_looks_at_the_first(tmp_path: Path) -> None:
    """Otherwise the distilled arm has another dropout, and from its second epoch on another order of the data."""

    def gap(student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean()

    hint = {"loss": gap, "student": "0", "teacher": "hidden", "projector": "linear"}
    seen = Seen()
    run = train(tmp_path / "run", objective={"hint": hint, "cross_entropy": 1.0}, adapter=seen)
    seen.batches.clear()
    found = run.compare(seeds=2, equal="steps")
    arms = [torch.stack(seen.batches[start : start + 12]) for start in range(0, 36, 12)]
    assert torch.equal(arms[1], arms[2])
    assert not any("batches" in note for note in found.notes)
    assert len(seen.batches) == 36  # the run is the pair of its seed's control


def test_a_loader_with_a_generator_of_its_own_begins_anew_for_every_arm(tmp_path: Path) -> None:
    """Otherwise the second arm goes on in the order where the first one stopped."""
    seen = Seen()
    data = DataLoader(learnable(48, 1), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(3))
    run = train(tmp_path / "run", train_loader=data, adapter=seen)
    lines: list[str] = []
    run.compare(seeds=2, equal="steps", progress=lines.append)
    assert sum("distilled" in line for line in lines) == 1  # the finished run is the pair of its own seed
    own, alone, second, third = (torch.stack(seen.batches[start : start + 12]) for start in range(0, 48, 12))
    assert torch.equal(own, alone)
    assert torch.equal(second, third)
    assert not torch.equal(own, second)


def test_a_loader_that_no_seed_governs_is_said(tmp_path: Path) -> None:
    """Otherwise the pairs are believed to be pairs."""

    class Wild:
        def __init__(self) -> None:
            self.walked = 0

        def __iter__(self) -> Any:
            self.walked += 1
            order = torch.randperm(48, generator=torch.Generator().manual_seed(self.walked))
            inputs, labels = learnable(48, 1).tensors
            return iter([(inputs[part], labels[part]) for part in order.split(8)])

        def __len__(self) -> int:
            return 6

    notes = train(tmp_path / "run", train_loader=Wild()).compare(seeds=2, equal="steps").notes
    assert any("did not see the same batches from epoch 1 on" in note for note in notes)


def test_unknown_numbers_in_a_batch_are_no_other_batch(tmp_path: Path) -> None:
    """Otherwise every table with rows that lack a label is told that its arms saw other batches: NaN equals nothing."""

    def adapter(model: nn.Module, batch: Any, temperature: float) -> kd.Signals:
        return kd.Signals(logits=model(batch[0]), labels=batch[2])

    def loader(count: int, seed: int) -> DataLoader[Any]:
        inputs, labels = learnable(count, seed).tensors
        return DataLoader(TensorDataset(inputs, torch.full((count,), torch.nan), labels), batch_size=8, shuffle=True)

    run = train(tmp_path / "run", train_loader=loader(48, 1), val_loaders={"test": loader(48, 2)}, adapter=adapter)
    assert not any("did not see the same batches" in note for note in run.compare(seeds=2, equal="steps").notes)


def test_a_student_module_starts_every_pair_from_the_weights_it_was_given_with(tmp_path: Path) -> None:
    """Otherwise the control goes on from the distilled student."""
    given = filled(student(), 3)
    start = snapshot(given)
    found = train(tmp_path / "run", student=given).compare(seeds=2, equal="steps")
    fresh = student()
    fresh.load_state_dict(start)
    alone = train(tmp_path / "alone", student=fresh, teacher=None, objective="labels", seed=1)
    assert alone.scores["test"] == found.without_teacher[1]
    assert any("given as a module" in note for note in found.notes)


def test_seeds_that_make_no_difference_are_refused(tmp_path: Path) -> None:
    """Otherwise one training counts three times, and its interval has no width."""
    fixed = DataLoader(learnable(48, 1), batch_size=8)
    run = train(tmp_path / "run", student=mlp(1), train_loader=fixed)
    with pytest.raises(ConfigError, match=r"same student to the bit.*callable"):
        run.compare(seeds=3)
    inputs = [learnable(8, seed).tensors[0] for seed in range(4)]
    scored = {"val_loaders": {"mean": inputs}, "pipeline": OnLogits(), "objective": "soft"}
    unlabelled = train(tmp_path / "unlabelled", student=mlp(1), train_loader=inputs, **scored)
    with pytest.raises(ConfigError, match="same student to the bit"):
        unlabelled.compare(seeds=2)


def test_learned_parts_of_an_objective_begin_anew(tmp_path: Path) -> None:
    """Otherwise the second seed is taught through projectors that the first one trained."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
            return ((self.scale * student_logits - teacher_logits) ** 2).mean()

    run = train(tmp_path / "run", objective={"scaled": Scaled(), "cross_entropy": 1.0}, seed=4)
    found = run.compare(seeds=[5, 4], equal="steps")
    again = train(tmp_path / "again", objective={"scaled": Scaled(), "cross_entropy": 1.0}, seed=5)
    assert found.with_teacher == (again.scores["test"], run.scores["test"])


def test_a_teacher_that_follows_the_student_begins_with_every_student(tmp_path: Path) -> None:
    """Otherwise the second seed's student is taught by the average of the first one's."""

    def run_of(name: str, seed: int) -> kd.Run:
        return train(tmp_path / name, teacher=EMATeacher(filled(student(), 1), decay=0.5), seed=seed)

    found = run_of("run", 0).compare(seeds=2, equal="steps")
    assert found.with_teacher[1] == run_of("again", 1).scores["test"]


# -- what the control learns from ------------------------------------------------------------------------------------


def test_without_an_own_term_the_control_learns_from_the_labels_of_the_batches(tmp_path: Path) -> None:
    """Otherwise 'soft' has no control, or one that learns nothing."""
    found = train(tmp_path / "run", objective="soft").compare(seeds=2, equal="steps")
    assert found.control == "the same student trained on the labels, at equal steps"
    assert any("the control learns from the labels" in note for note in found.notes)
    alone = train(tmp_path / "alone", teacher=None, objective="labels")
    assert alone.scores["test"] == found.without_teacher[0]


class OnLogits:
    """Scores the mean of the first logit."""

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        return {"inference_result": float(torch.cat([model(batch)[:, 0] for batch in data_loader]).mean())}


def test_without_any_labels_the_control_is_the_untrained_student_and_that_is_said(tmp_path: Path) -> None:
    """Otherwise 'helped' against nothing reads like 'helped' against training."""
    inputs = [learnable(8, seed).tensors[0] for seed in range(4)]
    built: list[dict[str, Tensor]] = []

    def make() -> nn.Module:
        model = student()
        built.append(snapshot(model))
        return model

    run = train(
        tmp_path / "run",
        student=make,
        train_loader=inputs,
        val_loaders={"mean": inputs},
        pipeline=OnLogits(),
        objective="soft",
    )
    found = run.compare(seeds=2)
    assert "untrained, for want of labels" in found.sentence
    assert any("the batches carry no class labels" in note for note in found.notes)
    assert found.at_equal_time is None
    assert found.steps == {"with_teacher": 8, "without_teacher": 0}
    assert identical(load_file(tmp_path / "run" / "control.safetensors"), built[0])
    with pytest.raises(ConfigError, match="smooths the labels"):
        run.compare(seeds=2, arms=("label_smoothing",))


def test_the_students_own_loss_is_a_control(tmp_path: Path) -> None:
    """Otherwise a detector's control is trained on class labels that it does not have."""

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = student()

        def forward(self, inputs: Tensor) -> Any:
            logits = self.net(inputs)
            return {"logits": logits, "loss": {"own": (logits**2).mean()}} if self.training else {"logits": logits}

    run = train(tmp_path / "run", student=Detector, objective="soft")
    assert run.compare(seeds=2, equal="steps").control.startswith("the same student trained on its own loss")


@pytest.mark.parametrize(
    ("objective", "weights"),
    [
        ({"kd": 0.9, "cross_entropy": 0.1}, {"cross_entropy": 1.0}),
        (
            {"kd": KD(2.0), "a": kd.Term(CrossEntropy(), 0.5), "b": kd.Term(CrossEntropy(0.1), 0.25)},
            {"a": 0.5, "b": 0.25},
        ),
        ("multi_label", {"binary_cross_entropy": 1.0}),
        ("soft", {}),
        ({"kd": 1.0, "watched": kd.Term(CrossEntropy(), 0.0)}, {}),
        ({"mix": {"loss": "fused_divergence", "hard_weight": 0.5}}, {"cross_entropy of mix": 1.0}),
        (
            {"mix": {"loss": "fused_divergence", "hard_weight": 0.5, "weight": 2}, "cross_entropy": 0.3},
            {"cross_entropy of mix": 1.0, "cross_entropy": 0.3},
        ),
        ({"fused_divergence": 1.0}, {}),
    ],
)
def test_the_control_keeps_the_terms_that_need_no_teacher(objective: Any, weights: dict[str, float]) -> None:
    """Otherwise the control learns at a tenth of the rate, or from the teacher."""
    from knowledge_distillation.objective import as_objective
    from knowledge_distillation.objective.control import without_teacher

    assert {name: term.weight for name, term in without_teacher(as_objective(objective)).items()} == weights


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [1, 0, True, [3], [1, 1], [0, -1], "01", [0.5, 1.0]])
def test_seeds_that_are_none_are_refused(tmp_path: Path, seeds: Any) -> None:
    """Otherwise one lucky seed, or the same one twice, is a verdict."""
    run = train(tmp_path / "run")
    with pytest.raises(ConfigError, match="seeds must be a number of at least 2"):
        run.compare(seeds=seeds)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arms": ("dk",)}, r"no arm named 'dk'.*'dkd'"),
        ({"arms": "dkd"}, "arms must be a sequence"),
        ({"equal": "time"}, "equal must be"),
        ({"metric": "tset"}, r"no validation loader named 'tset'.*test"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_trained(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    """Otherwise a slip of the pen costs an hour."""
    run = train(tmp_path / "run")
    lines: list[str] = []
    with pytest.raises(ConfigError, match=message):
        run.compare(seeds=2, progress=lines.append, **wrong)
    assert lines == []


def test_runs_that_cannot_be_compared_say_why(tmp_path: Path) -> None:
    """Otherwise a KeyError in the middle of the trainings."""
    with pytest.raises(ConfigError, match="on a validation loader, and the run has none"):
        train(tmp_path / "blind", val_loaders=None).compare()
    with pytest.raises(ConfigError, match="max_time"):
        train(tmp_path / "timed", trainer={"max_time": "00:01:00:00"}).compare()

    class Stubborn(nn.Sequential):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("not me")

    stubborn = Stubborn(nn.Linear(FEATURES, CLASSES))
    with pytest.raises(ConfigError, match=r"student must be copied .* not me\. Pass the student as a callable"):
        train(tmp_path / "stubborn", student=stubborn).compare()


def test_a_metric_that_is_no_number_ends_the_comparison(tmp_path: Path) -> None:
    """Otherwise NaN is written into comparison.json."""
    run = train(tmp_path / "run", pipeline=Scripted(0.5, 0.5, math.nan))
    with pytest.raises(ConfigError, match="labels arm of seed 0 has nan"):
        run.compare(seeds=2)
    assert not (run.directory / "comparison.json").exists()


class Stopping:
    """An adapter that breaks training off once it is told to."""

    def __init__(self) -> None:
        self.at = "nowhere"
        self.lines: list[str] = []

    def __call__(self, model: nn.Module, batch: Any, temperature: float) -> kd.Signals:
        if self.lines and self.lines[-1].startswith(self.at) and torch.is_grad_enabled():
            raise KeyboardInterrupt
        return kd.Signals(logits=model(batch[0]), labels=batch[1])

    def __deepcopy__(self, memo: Any) -> Stopping:
        return self


def test_a_comparison_that_is_stopped_leaves_the_one_before_it_as_it_was(tmp_path: Path) -> None:
    """Otherwise the verdict of one comparison stands beside the control student of another."""
    adapter = Stopping()
    run = train(tmp_path / "run", adapter=adapter)
    run.compare(seeds=2, equal="steps")
    before = {path.name: path.read_bytes() for path in run.directory.iterdir() if path.is_file()}
    adapter.at = "seed 8"
    with pytest.raises(KeyboardInterrupt):
        run.compare(seeds=[7, 8], equal="steps", progress=adapter.lines.append)
    after = {path.name: path.read_bytes() for path in run.directory.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("stop", ["seed 1: without", "seed 1: distilled", "seed 2: distilled"])
def test_a_comparison_that_broke_off_goes_on_and_finds_the_same(tmp_path: Path, stop: str) -> None:
    """Otherwise six trainings of a night are lost with the seventh."""
    adapter = Stopping()
    run = train(tmp_path / "run", adapter=adapter, pipeline=None)
    whole = run.compare(seeds=3, equal="steps", progress=adapter.lines.append)
    control = load_file(run.directory / "control.safetensors")
    trained = [line for line in adapter.lines if line.startswith("seed")]
    adapter.lines.clear()
    adapter.at = stop
    with pytest.raises(KeyboardInterrupt):
        run.compare(seeds=3, equal="steps", progress=adapter.lines.append)
    done = sum(line.startswith("seed") for line in adapter.lines) - 1
    (run.directory / "control.safetensors").unlink()
    adapter.lines.clear()
    adapter.at = "nowhere"
    found = run.compare(seeds=3, equal="steps", progress=adapter.lines.append)
    assert found.with_teacher == whole.with_teacher
    assert found.without_teacher == whole.without_teacher
    assert identical(load_file(run.directory / "control.safetensors"), control)
    again = [line for line in adapter.lines if line.startswith("seed")]
    assert [line.split(": from")[0] for line in again] == trained
    assert sum("broke off" in line for line in again) == done
    assert not list(run.directory.glob("*unfinished*"))


@pytest.mark.parametrize("change", [{"learning_rate": 0.01}, {"seeds": [1, 0]}, {"metric": "other"}])
def test_what_broke_off_is_taken_up_by_the_same_comparison_only(tmp_path: Path, change: dict[str, Any]) -> None:
    """Otherwise scores of another learning rate, another metric or another first control stand in the verdict."""
    adapter = Stopping()
    loader = DataLoader(learnable(200, 2), batch_size=50)
    arguments: dict[str, Any] = {"adapter": adapter, "val_loaders": {"test": loader, "other": loader}}
    adapter.at = "seed 1: distilled"
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", **arguments).compare(seeds=2, equal="steps", progress=adapter.lines.append)
    adapter.at, adapter.lines = "nowhere", []
    asked = {"seeds": 2, **{name: value for name, value in change.items() if name != "learning_rate"}}
    rate = {name: value for name, value in change.items() if name == "learning_rate"}
    other = train(tmp_path / "run2", **arguments, **rate)
    for left in (tmp_path / "run").glob("*unfinished*"):
        left.rename(other.directory / left.name)
    other.compare(**asked, equal="steps", progress=adapter.lines.append)
    assert not any("broke off" in line for line in adapter.lines)


def test_a_time_counts_only_beside_its_pair(tmp_path: Path) -> None:
    """Otherwise the control of a busy night gives its seconds to the student of a quiet morning."""
    adapter = Stopping()
    run = train(tmp_path / "run", adapter=adapter)
    adapter.at = "seed 2: distilled"
    with pytest.raises(KeyboardInterrupt):
        run.compare(seeds=3, equal="steps", progress=adapter.lines.append)
    kept = json.loads((run.directory / "comparison.unfinished.json").read_text())["trials"]
    taken = {(row["seed"], row["arm"]): row["trial"]["seconds"] for row in kept}
    assert set(taken) == {(0, "labels"), (1, "labels"), (1, "distilled"), (2, "labels")}
    adapter.at, adapter.lines = "nowhere", []
    found = run.compare(seeds=3, equal="steps", progress=adapter.lines.append)
    assert found.seconds["without_teacher"] == pytest.approx(taken[1, "labels"], abs=1e-4)


def test_trials_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Otherwise half a file on a full disk ends every later comparison with a message about JSON."""
    run = train(tmp_path / "run")
    (run.directory / "control.unfinished").touch()
    (run.directory / "comparison.unfinished.json").write_text('{"of": ')
    with pytest.raises(CheckpointError, match=r"comparison\.unfinished\.json must hold .* Delete it"):
        run.compare(seeds=2)


@pytest.mark.parametrize(("count", "said"), [(1, "two values only"), (20, "by 5.0 points")])
def test_few_validation_samples_are_said(tmp_path: Path, count: int, said: str) -> None:
    """Otherwise one sample decides what is shipped."""
    run = train(tmp_path / "run", val_loaders={"test": DataLoader(learnable(count, 2))})
    found = run.compare(seeds=2, equal="steps")
    assert any(said in note for note in found.notes)
    if count == 1:
        assert found.verdict == "no evidence"


def test_the_better_direction_is_the_pipelines(tmp_path: Path) -> None:
    """Otherwise a rising error rate is help."""
    run = train(tmp_path / "run", pipeline=Scripted(0.9, 0.1, 0.5, 0.51, 0.12, higher_is_better=False))
    found = run.compare(seeds=2, equal="steps")
    assert (found.with_teacher, found.without_teacher) == ((0.1, 0.12), (0.5, 0.51))
    assert found.difference == pytest.approx(0.395)


def test_the_random_state_of_the_program_is_left_alone(tmp_path: Path) -> None:
    """Otherwise what the user does next depends on whether a comparison was made."""
    run = train(tmp_path / "run")
    torch.manual_seed(77)
    expected = torch.rand(3)
    torch.manual_seed(77)
    run.compare(seeds=2, equal="steps")
    assert torch.equal(torch.rand(3), expected)


def test_the_schedule_is_planned_for_the_longer_control(tmp_path: Path) -> None:
    """Otherwise the control at equal time ends at its highest learning rate, or trains on at none."""
    from dataclasses import replace

    from knowledge_distillation.training.bare import train_bare

    run = train(tmp_path / "run", schedule="one_cycle")
    assert run.plan is not None
    rates: list[float] = []

    class Rates(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    for schedule in ("one_cycle", "linear_decay_with_warm_up"):
        rates.clear()
        plan = replace(run.plan, optimizer=Rates, schedule=schedule)
        made = train_bare(plan.again(teacher=None, objective="labels"), tmp_path, steps=21, full_steps=12)
        assert (made.steps, len(rates)) == (21, 21)
        assert made.scores["test"] > 0
        if schedule == "one_cycle":
            assert rates[-1] < 0.01 * max(rates)
            assert 0.2 < rates.index(max(rates)) / 21 < 0.4
        else:
            assert rates[0] == pytest.approx(0.03)
            assert rates[-1] == pytest.approx(0.03 / 4)
