"""Whatever is given wrongly: one DistillationError that says what must hold, early, with nothing written."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from knowledge_distillation.errors import CheckpointError, ConfigError, DistillationError, MissingExtraError
from tests.contract.comet import FakeComet
from tests.contract.toy import (
    BATCH,
    CLASSES,
    FEATURES,
    Constant,
    Scorer,
    Stream,
    Student,
    Teacher,
    column,
    labelled_loader,
    loader_of,
    rows,
    same,
    train,
    training,
    weights,
    written,
)

NAN, INFINITY = math.nan, math.inf
COUNT = (0, -1, 1.5, "2", None, True)
POSITIVE = (0, -0.5, NAN, INFINITY, "1", None, True)
BAD_VALUES: dict[str, tuple[Any, ...]] = {
    "num_gpu_used": (-1, 1.5, "2", None, True),
    "max_epoch": COUNT,
    "accumulate_grad_batches": COUNT,
    "num_nodes": COUNT,
    "learning_rate": POSITIVE,
    "temperature": POSITIVE,
    "num_lr_warm_up_epoch": (-1, NAN, INFINITY, "1", None, True),
    "seed": (-1, 2**32, 1.5, "1", None, True),
    "track_grad_norm": ("two", -2, NAN, True, [2]),
    "precision": (8, "banana", True, [16]),
    "deterministic": ("yes", 2),
    "logging_param": (5, [1], "text"),
}


@pytest.mark.parametrize(
    ("argument", "value"), [(argument, value) for argument, values in BAD_VALUES.items() for value in values], ids=str
)
def test_a_wrong_value_is_refused_by_the_constructor(argument: str, value: Any, workplace: Path) -> None:
    """A wrong number found only in training costs the set-up, or trains something that nobody asked for."""
    with pytest.raises(DistillationError, match=rf"(?is){argument}.*{re.escape(str(value))}"):
        training(**{argument: value})
    assert written(workplace) == []


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("optimize_method", "adamm", "Could not find optimizer 'adamm'.*Did you mean 'adam'"),
        ("optimize_method", "", "Could not find optimizer ''.*Known: adam"),
        ("optimize_method", None, "optimizer must be a name.*got None"),
        ("optimize_method", 5, "optimizer must be a name.*got 5"),
        ("optimize_method", lambda parameters, lr: None, "(?i)optimizer"),
        ("optimize_method", {"name": "sgd", "momentun": 0.9}, "momentun"),
        ("scheduler_method", "cosine_aneal", "Could not find scheduler 'cosine_aneal'.*cosine_anneal"),
        ("scheduler_method", None, "schedule must be a name.*got None"),
        ("scheduler_method", 5, "schedule must be a name.*got 5"),
        ("accelerator", "ddp_cuda", "no accelerator 'ddp_cuda'.*Did you mean"),
        ("accelerator", 3, "no accelerator 3"),
        ("accelerator", ["gpu"], "no accelerator"),
    ],
    ids=lambda value: (re.sub(r"\W+", "_", str(value)) or "empty") if not callable(value) else "function",
)
def test_an_unknown_name_is_refused_with_the_known_ones(
    argument: str, value: Any, message: str, workplace: Path
) -> None:
    """A typo must be mended in seconds, from the message alone."""
    with pytest.raises(ConfigError, match=message):
        training(**{argument: value})
    assert written(workplace) == []


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({"kd_loss": "1"}, "weight must be a finite number, got '1'"),
        ({"kd_loss": None}, "weight must be a finite number, got None"),
        ({"kd_loss": True}, "weight must be a finite number, got True"),
        ({"kd_loss": NAN}, "weight must be a finite number, got nan"),
        ({"kd_loss": INFINITY}, "weight must be a finite number, got inf"),
        ({"kd_loss": -1}, "weight must be at least 0, got -1"),
        ({"kd_loss": 1, "cos_embed_loss": [1]}, r"weight must be a finite number, got \[1\]"),
        ({1: 1}, r"final_loss_coeff_dict must map loss names to numbers, got \{1: 1\}"),
        ({"kd_loss": 0}, "has weight 0, so the student would learn nothing"),
        ([], r"final_loss_coeff_dict must map loss names to numbers, got \[\]"),
        (["kd_loss"], "final_loss_coeff_dict must map loss names to numbers"),
        ("kd_loss", "final_loss_coeff_dict must map loss names to numbers, got 'kd_loss'"),
        (1, "final_loss_coeff_dict must map loss names to numbers, got 1"),
    ],
    ids=str,
)
def test_wrong_coefficients_are_refused(coefficients: Any, message: str, workplace: Path) -> None:
    """The student would be driven away from its teacher, or learn nothing."""
    with pytest.raises(ConfigError, match=message):
        training(final_loss_coeff_dict=coefficients)
    assert written(workplace) == []


WRONG: list[tuple[Callable[[], Mapping[str, Any]], str]] = [
    (lambda: {"student_model": None}, "student_model is missing"),
    (lambda: {"teacher_model": None}, "teacher_model is missing"),
    (lambda: {"student_model": 5}, r"student_model must be an nn\.Module.*int"),
    (lambda: {"student_model": lambda: 5}, r"student_model\(\) must return an nn\.Module.*int"),
    (lambda: {"teacher_model": "resnet"}, r"teacher_model must be an nn\.Module.*str"),
    (lambda: {"teacher_model": Teacher}, r"teacher_model must be an nn\.Module.*type"),
    (lambda: dict.fromkeys(("student_model", "teacher_model"), Student()), "same object"),
    (lambda: {"student_model": nn.ReLU()}, "no trainable parameter"),
    (lambda: {"student_model": Student().requires_grad_(False)}, "no trainable parameter"),
    (lambda: {"train_data_loader": None}, "train_.*loader must be iterable.*NoneType"),
    (lambda: {"train_data_loader": 5}, "train_.*loader must be iterable.*int"),
    (lambda: {"train_data_loader": DataLoader([])}, "(?i)train loader is empty"),
    (lambda: {"train_data_loader": DataLoader([1, 2], batch_size=4, drop_last=True)}, "train loader is empty"),
    (lambda: {"val_data_loaders": labelled_loader()}, "val_.*loaders must be a dict.*DataLoader"),
    (lambda: {"val_data_loaders": [labelled_loader()]}, "val_.*loaders must be a dict.*list"),
    (lambda: {"val_data_loaders": {1: labelled_loader()}}, "name must be text.*1"),
    (lambda: {"val_data_loaders": {"a{b}": labelled_loader()}}, "name must be text.*a{b}"),
    (lambda: {"val_data_loaders": {"two\nlines": labelled_loader()}}, "name must be text.*two"),
    (lambda: {"val_data_loaders": {"epoch": labelled_loader()}}, "must not be named 'epoch'"),
    (lambda: {"val_data_loaders": {"step": labelled_loader()}}, "must not be named 'step'"),
    (lambda: {"val_data_loaders": {"kd_loss": labelled_loader()}}, "must not be named 'kd_loss'"),
    (lambda: {"val_data_loaders": {"train_final_loss": labelled_loader()}}, "must not be named 'train_final_loss'"),
    (lambda: {"val_data_loaders": {"dev": 5}}, "'dev' must be iterable.*int"),
    (lambda: {"val_data_loaders": {"dev": DataLoader([])}}, "'dev' is empty"),
    (lambda: {"inference_pipeline": None}, "inference_pipeline is missing"),
    (lambda: {"inference_pipeline": Accuratish()}, "run_inference_pipeline.*Accuratish has none"),
    (lambda: {"inference_pipeline": Scorer}, "pipeline must be an instance.*Scorer is a class"),
    (lambda: {"resume_from_checkpoint": "gone.ckpt"}, "no file gone.ckpt"),
    (lambda: {"resume_from_checkpoint": Path("gone.ckpt")}, "no file gone.ckpt"),
    (lambda: {"num_gpu_used": 1, "accelerator": "cpu"}, "accelerator='cpu' contradicts num_gpu_used=1"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[re.sub(r"\W+", "_", message) for _, message in WRONG])
def test_wrong_models_loaders_and_pipelines_are_refused(
    changes: Callable[[], Mapping[str, Any]], message: str, workplace: Path
) -> None:
    """What cannot train or be scored must be found before the teacher is loaded onto a GPU."""
    valid = {"val_data_loaders": {"dev": labelled_loader()}, "inference_pipeline": Scorer()}
    with pytest.raises(DistillationError, match=message):
        training(**{**valid, **changes()})
    assert written(workplace) == []


class Accuratish:
    """Not a pipeline: its method has another name."""

    def run_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        return {}


def test_a_missing_library_is_named_with_its_extra(
    workplace: Path, comet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ImportError from deep inside Lightning does not say what to install."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "comet_ml" else find(name, *rest)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'knowledge-distillation-toolkit\[comet\]'"):
        training(log_to_comet=True, comet_info_path=str(comet_file))
    assert written(workplace) == ["comet.txt"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_epoch": 0},
        {"precision": "banana"},
        {"final_loss_coeff_dict": {"kd_loss": -1}},
        {"student_model": nn.ReLU()},
        {"resume_from_checkpoint": "gone.ckpt"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_refused_call_starts_no_experiment_at_comet(
    wrong: dict[str, Any], comet: type[FakeComet], comet_file: Path
) -> None:
    """Every typo would leave one more empty experiment in the team's project."""
    with pytest.raises(DistillationError):
        training(log_to_comet=True, comet_info_path=str(comet_file), **wrong)
    assert comet.made == []


@pytest.mark.parametrize("wrong", [{"precision": "banana"}, {"num_nodes": 0}], ids=lambda wrong: next(iter(wrong)))
def test_a_refused_call_writes_no_hyperparameters(wrong: dict[str, Any], workplace: Path) -> None:
    """A folder of a run that never was is taken for a result."""
    with pytest.raises(DistillationError):
        training(logging_param={"note": 1}, **wrong)
    assert written(workplace) == []


def test_a_list_of_batches_is_trained_on_as_given() -> None:
    """Lightning takes a list for several loaders: it would cut every batch into rows, and nobody would know."""
    student = Student()
    batches = [(rows(BATCH),), (rows(BATCH),)]
    train(student_model=student, train_data_loader=batches)
    assert [call["inputs"][0].shape for call in student.calls] == [(BATCH, FEATURES)] * len(batches)


class Answer(nn.Module):
    """A model that returns whatever is made from its logits."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net = nn.Linear(FEATURES, CLASSES)
        self.make = make

    def forward(self, inputs: Tensor, temperature: float = 1) -> Any:
        return self.make(self.net(inputs))


class WithoutTemperature(Student):
    """An ordinary model, as it comes: no temperature among its arguments."""

    def forward(self, inputs: Tensor) -> dict[str, Any]:
        return super().forward(inputs)


class OneInput(Student):
    """Takes its inputs and the temperature, so a batch with labels puts these where the temperature belongs."""

    def forward(self, inputs: Tensor, temperature: float = 1) -> dict[str, Any]:
        return super().forward(inputs, temperature=temperature)


def student(**entries: Callable[[Tensor], Any]) -> dict[str, Any]:
    """A student with these entries made from its logits instead."""
    return {"student_model": Student(add=lambda logits: {key: make(logits) for key, make in entries.items()})}


def teacher(**entries: Callable[[Tensor], Any]) -> dict[str, Any]:
    """The same for a teacher."""
    return {"teacher_model": Student(seed=0, add=lambda logits: {key: make(logits) for key, make in entries.items()})}


def weighed(loss: Callable[[Tensor], Any]) -> dict[str, Any]:
    """A student whose own loss "own" is the whole objective."""
    return {**student(loss=loss), "final_loss_coeff_dict": {"own": 1}}


AT_THE_FIRST_BATCH: dict[str, tuple[Callable[[], Mapping[str, Any]], str]] = {
    "tensor_batch": (lambda: {"train_data_loader": loader_of(rows(BATCH))}, "must be a tuple or list.*Tensor"),
    "dict_batch": (lambda: {"train_data_loader": loader_of({"x": rows(BATCH)})}, "must be a tuple or list.*dict"),
    "text_batch": (lambda: {"train_data_loader": loader_of("abc")}, "must be a tuple or list.*str"),
    "number_batch": (lambda: {"train_data_loader": loader_of(5)}, "must be a tuple or list.*int"),
    "empty_stream": (lambda: {"train_data_loader": DataLoader(Stream([]))}, "train loader gave no batch"),
    "student_gives_tensor": (
        lambda: {"student_model": Answer(lambda logits: logits)},
        "student must return a dict.*Tensor",
    ),
    "student_gives_nothing": (
        lambda: {"student_model": Answer(lambda logits: None)},
        "student must return a dict.*None",
    ),
    "teacher_gives_tuple": (
        lambda: {"teacher_model": Answer(lambda logits: (logits,))},
        "teacher must return a dict.*tuple",
    ),
    "student_gives_too_little": (
        lambda: {"student_model": Answer(lambda logits: {"logits": logits})},
        r"student's output lacks \['prob', 'log_prob'\].*holds \['logits'\]",
    ),
    "teacher_gives_too_little": (
        lambda: {"teacher_model": Answer(lambda logits: {"logits": logits})},
        r"teacher's output lacks \['prob'\].*holds \['logits'\]",
    ),
    "student_takes_no_temperature": (lambda: {"student_model": WithoutTemperature()}, "student.*temperature"),
    "teacher_takes_no_temperature": (lambda: {"teacher_model": WithoutTemperature()}, "teacher.*temperature"),
    "text_logits": (lambda: student(logits=lambda logits: "x"), "student's 'logits' must be a floating-point tensor"),
    "integer_logits": (lambda: student(logits=lambda logits: logits.long()), "student's 'logits' must be a floating"),
    "scalar_logits": (lambda: teacher(logits=lambda logits: logits.mean()), "teacher's 'logits' must be a floating"),
    "fewer_classes_in_logits": (lambda: student(logits=lambda logits: logits[:, :2]), r"shape.*\(4, 2\).*\(4, 3\)"),
    "fewer_classes_in_log_prob": (
        lambda: student(log_prob=lambda logits: logits[:, :2].log_softmax(-1)),
        r"shape.*\(4, 2\).*\(4, 3\)",
    ),
    "labels_in_the_batch": (
        lambda: {"student_model": OneInput(), "teacher_model": OneInput(), "train_data_loader": labelled_loader()},
        r"batch of 2 entries is unpacked into the (teacher|student)'s forward.*without labels",
    ),
    "fewer_classes_in_prob": (
        lambda: student(prob=lambda logits: logits[:, :2].softmax(-1)),
        r"prob must have the shape.*\(4, 2\).*\(4, 3\)",
    ),
    "one_class_in_prob": (
        lambda: student(prob=lambda logits: logits[:, :1].softmax(-1)),
        r"prob must have the shape.*\(4, 1\).*\(4, 3\)",
    ),
    "fewer_classes_of_teacher": (lambda: teacher(prob=lambda logits: logits[:, :2].softmax(-1)), r"\(4, 3\).*\(4, 2\)"),
    "another_batch_size": (lambda: {"teacher_model": Constant(torch.zeros(2, CLASSES))}, r"\(4, 3\).*\(2, 3\)"),
    "nan_teacher": (lambda: teacher(prob=lambda logits: logits * NAN), "teacher's probabilities hold NaN"),
    "nan_student": (lambda: student(log_prob=lambda logits: logits * NAN), "student's probabilities hold NaN"),
    "nan_logits": (lambda: student(logits=lambda logits: logits * NAN), "student's logits hold NaN"),
    "negative_probabilities": (lambda: teacher(prob=lambda logits: -logits.softmax(-1)), "teacher's probabilities"),
    "list_of_losses": (lambda: student(loss=lambda logits: [logits.mean()]), "'loss' must be a dict.*list"),
    "bare_loss": (lambda: student(loss=lambda logits: logits.mean()), "'loss' must be a dict.*Tensor"),
    "loss_a_row": (lambda: student(loss=lambda logits: {"own": logits}), r"'own' must be one number.*\(4, 3\)"),
    "text_loss": (lambda: student(loss=lambda logits: {"own": "x"}), "'own' must be one number.*str"),
    "no_loss_value": (lambda: student(loss=lambda logits: {"own": None}), "'own' must be one number.*None"),
    "loss_without_name": (
        lambda: student(loss=lambda logits: {3: logits.mean()}),
        "'loss' must be text, got 3",
    ),
    "nan_loss": (lambda: weighed(lambda logits: {"own": logits.mean() * NAN}), "training loss is nan"),
    "infinite_loss": (lambda: weighed(lambda logits: {"own": logits.mean() * 0 + INFINITY}), "training loss is inf"),
    "loss_without_gradient": (lambda: weighed(lambda logits: {"own": 0}), "carries no gradient"),
    "detached_loss": (lambda: weighed(lambda logits: {"own": logits.mean().detach()}), "carries no gradient"),
}


@pytest.mark.parametrize("case", AT_THE_FIRST_BATCH)
def test_what_only_a_batch_shows_stops_before_any_weight_moves(case: str, workplace: Path) -> None:
    """The user must learn which model or loader is wrong, and find student and disk as they were."""
    changes, message = AT_THE_FIRST_BATCH[case]
    made = training(**changes())
    student = made.get_student_model()
    before = weights(student)
    with pytest.raises(DistillationError, match=message):
        made.start_kd_training()
    assert same(before, weights(student))
    assert not list(workplace.rglob("*.ckpt"))
    assert {path.name for path in workplace.iterdir()} <= {"lightning_logs"}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "must return a dict with 'inference_result'.*NoneType"),
        (0.5, "must return a dict with 'inference_result'.*float"),
        ({}, "must return a dict with 'inference_result'"),
        ({"accuracy": 1}, r"must return a dict with 'inference_result'.*\['accuracy'\]"),
        ({"inference_result": "high"}, "must be one number.*str"),
        ({"inference_result": None}, "must be one number.*NoneType"),
        ({"inference_result": [0.5]}, "must be one number.*list"),
        ({"inference_result": torch.zeros(2)}, "must be one number.*Tensor"),
    ],
    ids=["nothing", "number", "empty", "other_key", "text", "none", "list", "two_numbers"],
)
def test_a_wrong_result_of_the_pipeline_stops_before_training(result: Any, message: str, workplace: Path) -> None:
    """Found after the first epoch, it would cost that epoch; the check before training finds it at once."""

    class Wrong:
        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> Any:
            return result

    made = training(val_data_loaders={"dev": labelled_loader()}, inference_pipeline=Wrong())
    before = weights(made.get_student_model())
    with pytest.raises(DistillationError, match=f"'dev' {message}"):
        made.start_kd_training()
    assert same(before, weights(made.get_student_model()))
    assert [path for path in workplace.rglob("*") if path.is_file()] == []


def test_a_loss_that_vanishes_later_is_named() -> None:
    """Some students return a loss only for some batches; a bare KeyError would not say which term is missing."""
    answers = iter([{"own": 1.0}])
    made = training(
        student_model=Student(add=lambda logits: {"loss": next(answers, {})}),
        final_loss_coeff_dict={"kd_loss": 1, "own": 1},
    )
    with pytest.raises(DistillationError, match="'own'"):
        made.start_kd_training()


@pytest.mark.parametrize("name", ["prob", "logits", "log_prob", "log_probs", "loss"])
@pytest.mark.parametrize("called", [True, False], ids=["called", "not_called"])
def test_a_models_own_layer_names_do_not_matter(name: str, called: bool) -> None:
    """`self.prob = nn.Softmax(...)` is a natural name; what is compared must still be what the model returns."""

    class Named(Student):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(name, nn.Linear(CLASSES, CLASSES))

        def answer(self, logits: Tensor) -> dict[str, Any]:
            if called:
                self.get_submodule(name)(logits)
            return super().answer(logits)

    inputs = rows(BATCH)
    made = train(student_model=Named(), train_data_loader=loader_of((inputs,)))
    with torch.no_grad():
        expected = (Student()(inputs)["prob"] - Teacher()(inputs)["prob"]).abs().mean().item()
    assert made.trainer.global_step == 1
    assert column("train_prob_diff") == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04 cut off"],
    ids=["empty", "text", "cut_off"],
)
def test_a_damaged_checkpoint_is_named(content: bytes, workplace: Path) -> None:
    """Half a file after a full disk; a pickle error does not tell the user which file to delete."""
    (workplace / "last.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be read"):
        training(resume_from_checkpoint="last.ckpt").start_kd_training()


def test_a_checkpoint_of_another_student_is_named() -> None:
    """A wall of tensor names does not say that the wrong file was given."""
    train()
    other = Answer(lambda logits: None)
    other.more = nn.Linear(2, 2)
    with pytest.raises(DistillationError, match=r"last\.ckpt"):
        training(student_model=other, resume_from_checkpoint="checkpoints/last.ckpt").start_kd_training()


def test_a_models_own_type_error_is_not_taken_for_a_missing_temperature() -> None:
    """A wrong call deep inside the model would be explained as a missing argument of its own forward."""

    def backbone(logits: Tensor) -> Tensor:
        return logits.mean()

    def careless(logits: Tensor) -> dict[str, Any]:
        return {"loss": {"own": backbone(logits, temperature=2)}}  # type: ignore[call-arg]

    with pytest.raises(TypeError, match=r"backbone\(\) got an unexpected keyword argument 'temperature'") as caught:
        training(student_model=Student(add=careless)).start_kd_training()
    assert not isinstance(caught.value, DistillationError)


@pytest.mark.parametrize("where", ["pipeline", "student", "factory"])
def test_errors_in_the_users_own_code_come_through_unchanged(where: str) -> None:
    """Wrapped into ours, the user's own traceback and exception type would be lost."""

    def fail(*given: Any, **keywords: Any) -> Any:
        raise ZeroDivisionError("in the user's code")

    class Failing:
        run_inference_pipeline = staticmethod(fail)

    changes: dict[str, dict[str, Any]] = {
        "pipeline": {"val_data_loaders": {"dev": labelled_loader()}, "inference_pipeline": Failing()},
        "student": {"student_model": Student(add=fail)},
        "factory": {"student_model": fail},
    }
    with pytest.raises(ZeroDivisionError, match="in the user's code"):
        training(**changes[where]).start_kd_training()
