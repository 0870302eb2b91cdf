"""What goes wrong for a user when the teacher is not left exactly as it was."""

from __future__ import annotations

import copy
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.capture.adapters import auto
from knowledge_distillation.errors import CaptureError, ConfigError, NonFiniteError
from knowledge_distillation.objective import Term
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import LiveTeacher, Teacher
from knowledge_distillation.teachers.teacher import as_teacher
from knowledge_distillation.training.optimizers import OPTIMIZERS
from tests.training.toys import Difficult, flags, hooks_on, identical, loader, mlp, quiet_trainer, snapshot

CPU = torch.device("cpu")
INPUTS = torch.linspace(-1, 1, 20).reshape(4, 5)
HINT = {"kd": 1.0, "hint": Term(nn.MSELoss(), 0.5, student="hidden", teacher="stem")}


@pytest.mark.parametrize(
    "optimizer",
    [*OPTIMIZERS, torch.optim.RMSprop, torch.optim.LBFGS],
    ids=lambda optimizer: getattr(optimizer, "__name__", None),
)
def test_training_leaves_the_teacher_bit_identical(optimizer: Any) -> None:
    """Otherwise the teacher drifts: running statistics, weights, modes or flags that the user relies on later."""
    teacher, student = Difficult(), mlp()
    before, modes, start = snapshot(teacher), flags(teacher), snapshot(student)
    module = DistillationModule(student, teacher, HINT, optimizer=optimizer, learning_rate=1e-2)
    quiet_trainer(max_epochs=2, accumulate_grad_batches=2).fit(module, loader())
    assert identical(snapshot(teacher), before)
    assert flags(teacher) == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not identical(snapshot(student), start)


def test_the_teacher_answers_in_eval_mode_without_graph() -> None:
    """Otherwise dropout adds noise to every target, and the teacher's activations fill the memory."""
    model = Difficult()
    expected = copy.deepcopy(model).eval()(INPUTS)
    teacher = LiveTeacher(model)
    teacher.prepare(CPU)
    first, second = (teacher.signals((INPUTS, None)).logits for _ in range(2))
    assert first is not None
    assert torch.equal(first, second)
    torch.testing.assert_close(first, expected)
    assert not first.requires_grad
    teacher.release()


def test_release_gives_every_module_its_own_mode_back_even_after_two_prepares() -> None:
    """Otherwise a user's frozen batch norm comes back in train mode."""
    model = Difficult()
    before = flags(model)
    teacher = LiveTeacher(model)
    teacher.prepare(CPU)
    assert not any(flags(model)[0])
    teacher.prepare(CPU)
    teacher.release()
    assert flags(model) == before


def test_no_hook_stays_on_teacher_or_student_after_training() -> None:
    """Otherwise later forwards and exports run our code."""
    teacher, student = Difficult(), mlp()
    quiet_trainer().fit(DistillationModule(student, teacher, HINT), loader())
    assert hooks_on(teacher) == 0
    assert hooks_on(student) == 0


def test_no_hook_and_no_mode_stays_after_a_training_that_fails() -> None:
    """Otherwise one failed cell in a notebook leaves the models hooked, and the teacher in eval mode, for good."""
    teacher, student = Difficult(), mlp()
    before = flags(teacher)
    with torch.no_grad():
        student.head.bias[0] = float("nan")
    with pytest.raises(NonFiniteError, match="student's logits hold NaN"):
        quiet_trainer().fit(DistillationModule(student, teacher, HINT), loader())
    assert hooks_on(student) == 0
    assert hooks_on(teacher) == 0
    assert flags(teacher) == before


def test_the_fingerprint_depends_on_every_weight_and_buffer() -> None:
    """Otherwise a cache made by another teacher is taken for this one's."""
    model = Difficult()
    first = LiveTeacher(model).fingerprint
    assert LiveTeacher(copy.deepcopy(model)).fingerprint == first
    for name in ("head.weight", "norm.running_mean", "steps"):
        other = copy.deepcopy(model)
        tensor = other.state_dict()[name]
        with torch.no_grad():
            if tensor.is_floating_point():
                flat = tensor.view(-1)
                flat[-1] = torch.nextafter(flat[-1], torch.tensor(torch.inf))
            else:
                tensor += 1
        assert LiveTeacher(other).fingerprint != first, name


def test_the_fingerprint_follows_weights_that_change_after_it_was_asked() -> None:
    """Otherwise loading other weights into the same teacher keeps the old hash."""
    model = mlp(1)
    teacher = LiveTeacher(model)
    first = teacher.fingerprint
    model.load_state_dict(mlp(2).state_dict())
    assert teacher.fingerprint != first


def test_the_fingerprint_covers_buffers_that_are_not_saved() -> None:
    """Otherwise two teachers with different normalisation constants share one cache."""

    class Normalised(nn.Module):
        def __init__(self, mean: float) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor(mean), persistent=False)

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs - self.mean

    assert LiveTeacher(Normalised(0.0)).fingerprint != LiveTeacher(Normalised(0.5)).fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Sequential(nn.Linear(2, 2), nn.GELU())),
        (nn.LayerNorm(2, eps=1e-5), nn.LayerNorm(2, eps=1e-3)),
        (nn.Conv2d(1, 1, 3, padding=0), nn.Conv2d(1, 1, 3, padding=1)),
    ],
)
def test_the_fingerprint_covers_settings_that_are_no_weights(one: nn.Module, other: nn.Module) -> None:
    """Otherwise the same weights in a changed model are taken for the teacher that was cached."""
    other.load_state_dict(one.state_dict())
    assert LiveTeacher(one).fingerprint != LiveTeacher(other).fingerprint


def test_the_fingerprint_covers_a_configuration_and_outlasts_saving(tmp_path: Path) -> None:
    """Otherwise another attention scale is the same teacher, or a cache is lost when its teacher is saved."""
    from transformers import GPT2Config, GPT2LMHeadModel

    def model(**changed: Any) -> nn.Module:
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(n_embd=4, n_layer=1, n_head=2, vocab_size=8, n_positions=8, **changed))

    first = LiveTeacher(model()).fingerprint
    assert LiveTeacher(model()).fingerprint == first
    assert LiveTeacher(model(scale_attn_by_inverse_layer_idx=True)).fingerprint != first
    model().save_pretrained(tmp_path)
    assert LiveTeacher(GPT2LMHeadModel.from_pretrained(tmp_path)).fingerprint == first


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_teacher_of_another_precision_has_a_fingerprint_and_answers(dtype: torch.dtype) -> None:
    """Otherwise a half-precision teacher cannot teach a full-precision student."""
    model = mlp().to(dtype)
    teacher = LiveTeacher(model)
    assert len(teacher.fingerprint) == 64
    teacher.prepare(CPU)
    logits = teacher.signals((INPUTS, torch.zeros(4, dtype=torch.long))).logits
    assert logits is not None
    torch.testing.assert_close(logits, model(INPUTS.to(dtype)))
    teacher.release()


def test_whole_numbers_in_a_batch_keep_their_type_for_a_half_precision_teacher() -> None:
    """Otherwise token ids and labels become floats and the embedding refuses them."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)).to(torch.bfloat16)
    teacher = LiveTeacher(model)
    teacher.prepare(CPU)
    assert teacher.signals((torch.tensor([1, 8]), torch.tensor([0, 1]))).logits is not None
    teacher.release()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_users_adapter_receives_the_batch_in_the_type_the_loader_gave(dtype: torch.dtype) -> None:
    """Otherwise an adapter that reads batch.images works for the student and breaks for the teacher."""
    batch = namedtuple("Batch", ["images", "labels"])(INPUTS, torch.zeros(4, dtype=torch.long))

    def adapter(model: nn.Module, batch: Any, temperature: float) -> Signals:
        return Signals(logits=model(batch.images))

    model = mlp().to(dtype)
    teacher = LiveTeacher(model, adapter=adapter)
    teacher.prepare(CPU)
    torch.testing.assert_close(teacher.signals(batch).logits, model(INPUTS.to(dtype)))
    teacher.release()


def test_only_what_is_needed_of_the_teacher_runs() -> None:
    """Otherwise hint training pays for layers whose output nobody reads."""
    model = mlp()
    calls: list[str] = []
    for name, part in model.named_children():
        part.register_forward_hook(lambda *_, name=name: calls.append(name))
    teacher = LiveTeacher(model)
    teacher.prepare(CPU)
    features = teacher.signals(INPUTS, ("hidden",)).features
    torch.testing.assert_close(features["hidden"], nn.functional.linear(INPUTS, model.hidden.weight, model.hidden.bias))
    assert calls == ["hidden"]
    assert teacher.signals(INPUTS, ("hidden", "logits")).logits is not None
    assert calls == ["hidden", "hidden", "act", "head"]
    teacher.release()
    assert hooks_on(model) == 3


@pytest.mark.parametrize("wanted", [("hidden", "logits"), ["hidden", "logits"]], ids=["tuple", "list"])
def test_asking_again_adds_no_hook(wanted: Sequence[str]) -> None:
    """Otherwise every step is slower than the one before."""
    model = mlp()
    teacher = LiveTeacher(model)
    teacher.prepare(CPU)
    teacher.signals(INPUTS, wanted)
    after_one = hooks_on(model)
    for _ in range(3):
        teacher.signals(INPUTS, wanted)
    assert hooks_on(model) == after_one
    teacher.release()
    assert hooks_on(model) == 0


def test_a_misspelt_layer_of_the_teacher_is_named() -> None:
    """Otherwise the user searches the student for it."""
    teacher = LiveTeacher(mlp())
    teacher.prepare(CPU)
    with pytest.raises(CaptureError, match=r"teacher's 'hidde'.*'hidden'"):
        teacher.signals(INPUTS, ("hidde",))


def test_a_teacher_that_no_term_reads_is_never_called() -> None:
    """Otherwise the control run with labels only costs as much as distillation."""
    teacher = Difficult()
    quiet_trainer().fit(DistillationModule(mlp(), teacher, "labels"), loader())
    assert teacher.calls == 0


class Table:
    """A user's own teacher: no module at all."""

    fingerprint = "table"

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def prepare(self, device: torch.device) -> None:
        self.notes.append(("prepare", device.type))

    def signals(self, batch: Any, wanted: Sequence[str] = ()) -> Signals:
        self.notes.append(tuple(wanted))
        return Signals(logits=torch.zeros(len(batch[0]), 3))

    def release(self) -> None:
        self.notes.append("release")


def test_a_users_own_teacher_is_prepared_once_asked_per_batch_and_released() -> None:
    """Otherwise teachers that are no module cannot be used, or leak what they opened."""
    teacher = Table()
    assert isinstance(teacher, Teacher)
    module = DistillationModule(mlp(), teacher, "soft")
    quiet_trainer(max_epochs=2, num_sanity_val_steps=1).fit(module, loader(), loader(8))
    batches = 1 + 2 * (3 + 1)
    assert teacher.notes == [("prepare", "cpu"), *[("logits",)] * batches, "release"]


def test_a_module_is_wrapped_a_teacher_is_kept_and_anything_else_refused() -> None:
    """Otherwise the mistake shows up as a missing attribute on the first batch."""
    table, model = Table(), mlp()
    assert as_teacher(table) is table
    wrapped = as_teacher(model, adapter=auto, temperature=2.0)
    assert isinstance(wrapped, LiveTeacher)
    assert wrapped.model is model
    assert wrapped.temperature == 2.0
    with pytest.raises(ConfigError, match=r"must be an nn\.Module or a Teacher"):
        as_teacher(object())


def test_a_teacher_on_a_device_of_its_own_answers_on_the_students() -> None:
    """Otherwise a large teacher has no place beside the student, or its answers cannot be compared."""
    model = mlp(3)
    teacher = LiveTeacher(model, device="cpu")
    teacher.prepare(torch.device("meta"))
    said = teacher.signals(torch.randn(4, 5), ("logits", "hidden"))
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert said.logits.device.type == said.features["hidden"].device.type == "meta"
    assert said.logits.shape == (4, 3)


def test_a_teacher_that_lies_on_several_devices_stays_there() -> None:
    """Otherwise a model that was spread because it fits on no device is put on one."""
    model = mlp(3)
    model.register_parameter("elsewhere", torch.nn.Parameter(torch.empty(2, device="meta")))
    teacher = LiveTeacher(model)
    teacher.prepare(torch.device("cpu"))  # which would fail for what lies on "meta"
    assert torch.equal(teacher.signals(torch.ones(2, 5)).logits, model(torch.ones(2, 5)))
