"""The original's faults B1 to B13, B18 to B20 and B22 to B24: each test fails on its behaviour."""

from __future__ import annotations

import inspect
import itertools
import math
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import knowledge_distillation
from knowledge_distillation.capture.adapters import original_teacher
from knowledge_distillation.errors import ConfigError, DistillationError, ModelContractError
from knowledge_distillation.kd_training import KnowledgeDistillationTraining, KnowledgeDistillModel
from knowledge_distillation.losses import KD
from knowledge_distillation.run import distill
from knowledge_distillation.signals import Signals
from knowledge_distillation.students import keep_layers
from knowledge_distillation.training import tracking
from knowledge_distillation.training.module import DistillationModule
from tests.contract.comet import FakeComet
from tests.contract.toy import (
    BATCH,
    BATCHES,
    CLASSES,
    FEATURES,
    ROWS,
    Accuracy,
    Constant,
    NoisyStudent,
    Scorer,
    Student,
    Teacher,
    column,
    first_step,
    inputs_loader,
    labelled_loader,
    loader_of,
    rows,
    same,
    student_from,
    train,
    training,
    weights,
    written,
)
from tests.oracles.golden import load
from tests.oracles.golden import rows as golden_rows


class ReadmeStudent(nn.Module):
    """The original README's student, filled in; its batches carry labels, which training ignores."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, temperature: float = 1) -> dict[str, Tensor]:
        logits = self.net(inputs) / temperature
        return {"logits": logits, "prob": F.softmax(logits, dim=-1), "log_prob": F.log_softmax(logits, dim=-1)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_b01_the_readmes_quick_start_runs_on_a_cpu() -> None:
    """The original's first example stopped: the default precision and the validation both asked for a GPU."""
    made = KnowledgeDistillationTraining(
        train_data_loader=labelled_loader(),
        val_data_loaders={"a validation dataset": labelled_loader()},
        inference_pipeline=Accuracy(),
        student_model=ReadmeStudent(),
        teacher_model=ReadmeStudent(),
    )
    made.trainer.progress_bar_callback.disable()
    made.start_kd_training()
    assert made.trainer.global_step == 10 * BATCHES
    assert len(column("a validation dataset")) == 10


def test_b02_it_runs_on_the_installed_lightning() -> None:
    """The original could not be constructed on Lightning 2: four of its arguments are gone."""
    assert int(lightning.__version__.split(".")[0]) >= 2
    made = train(val_data_loaders={"dev": labelled_loader()}, inference_pipeline=Scorer())
    assert isinstance(made.trainer, lightning.pytorch.Trainer)
    assert made.trainer.state.finished


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adamW_distilBert"])
def test_b03_the_teacher_is_in_no_optimiser_and_stays_to_the_bit(optimizer: str) -> None:
    """Weight decay moved the original's teacher, so the student learned from one that was never evaluated."""

    class Normalised(Teacher):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(CLASSES)

        def answer(self, logits: Tensor) -> dict[str, Any]:
            return super().answer(self.norm(logits))

    teacher = Normalised()
    teacher.net.bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    made = train(teacher_model=teacher, optimize_method=optimizer, learning_rate=0.5)
    held = {id(entry) for group in made.trainer.optimizers[0].param_groups for entry in group["params"]}
    assert held == {id(parameter) for parameter in made.get_student_model().parameters()}
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert (teacher.net.weight.requires_grad, teacher.net.bias.requires_grad) == (True, False)


def test_b03_frozen_parts_of_the_student_stay_frozen() -> None:
    """A user who freezes the embedding must find it unchanged, weight decay or not."""
    student = Student()
    student.net.bias.requires_grad_(False)
    before = student.net.bias.clone()
    train(student_model=student, optimize_method="adamW_distilBert", learning_rate=0.5)
    assert torch.equal(student.net.bias, before)


def test_b04_checkpoints_hold_no_teacher_and_load_without_one() -> None:
    """Every checkpoint of a 65 M student weighed 1.5 GB, and using it needed the 317 M teacher again."""
    trained = train().get_student_model()
    checkpoint = torch.load("checkpoints/last.ckpt", weights_only=True)
    assert not [name for name in checkpoint["state_dict"] if "teacher" in name]
    assert all("teacher" not in str(key) for key in checkpoint)
    assert same(weights(student_from(checkpoint["state_dict"], seed=4)), weights(trained))


@pytest.mark.parametrize(("trained_on", "loaded_on"), [(4, 1), (1, 4), (0, 1)])
def test_b05_a_checkpoint_loads_strictly_on_another_number_of_gpus(trained_on: int, loaded_on: int) -> None:
    """A checkpoint of four GPUs could not be resumed on one: hyperparameters were buffers or not, by GPU count."""
    modules = [
        KnowledgeDistillModel(
            num_gpu_used=count, student_model=Student(seed=count), teacher_model=Teacher(), learning_rate=0.5
        )
        for count in (trained_on, loaded_on)
    ]
    modules[1].load_state_dict(modules[0].state_dict(), strict=True)
    assert same(weights(modules[0].student_model), weights(modules[1].student_model))


def test_b05_the_schedule_does_not_change_the_stored_learning_rate() -> None:
    """The original's scheduler wrote into the buffer: the file named the decayed rate as the run's setting."""
    made = train(
        max_epoch=3, learning_rate=0.75, scheduler_method="linear_decay_with_warm_up", num_lr_warm_up_epoch=2
    )  # fmt: skip
    assert made.pytorch_lightning_module.learning_rate == 0.75
    assert list(made.pytorch_lightning_module.buffers()) == []


@pytest.mark.parametrize("name", ["x", "mnist_test"])
def test_b06_the_validation_loaders_themselves_are_walked(name: str) -> None:
    """The original handed Lightning the first loader's name, letter by letter: longer names, more validation."""
    seen: list[int] = []

    class Counting:
        def run_inference_pipeline(self, model: nn.Module, data_loader: DataLoader[Any]) -> dict[str, Any]:
            assert isinstance(data_loader, DataLoader)
            seen.append(sum(len(inputs) for inputs, _ in data_loader))
            return {"inference_result": 1.0}

    train(val_data_loaders={name: labelled_loader(10), "b": labelled_loader(7)}, inference_pipeline=Counting())
    assert seen == [10, 7] * 2


def test_b06_an_empty_name_is_refused() -> None:
    """An empty name gave no validation at all in the original."""
    with pytest.raises(ConfigError, match="name must be text"):
        training(val_data_loaders={"": labelled_loader()}, inference_pipeline=Scorer())


def test_b07_named_checkpoints_rates_and_hyperparameters_without_comet() -> None:
    """Without an account at one company the original kept no named checkpoint, no curve and no settings."""
    train(val_data_loaders={"dev": labelled_loader()}, inference_pipeline=Scorer(0.0, 0.5), logging_param={"note": 1})
    assert {path.name for path in Path("checkpoints").iterdir()} == {"student-epoch=000-dev=0.50000.ckpt", "last.ckpt"}
    assert column("lr-Adam") == [0.0001]
    assert column("kd_loss")
    assert Path("lightning_logs/version_0/hparams.yaml").is_file()


def test_b08_the_best_checkpoint_is_best_by_validation() -> None:
    """The original took the luckiest training batch: here the training loss falls while the score falls too."""
    falling = [3.0, 2.0, 1.0]

    def add(logits: Tensor) -> dict[str, Any]:
        trained = sum(call["training"] for call in student.calls)
        return {"loss": {"given": logits.sum() * 0 + falling[trained - 1]} if student.training else {}}

    student = Student(add=add)
    made = train(
        max_epoch=3,
        student_model=student,
        train_data_loader=loader_of((rows(),)),
        final_loss_coeff_dict={"given": 1},
        val_data_loaders={"dev": labelled_loader()},
        inference_pipeline=Scorer(0.0, 0.9, 0.5, 0.1),
    )
    assert column("train_final_loss") == [3.0, 2.0, 1.0]
    best = made.trainer.checkpoint_callback.best_model_path
    assert Path(best).name == "student-epoch=000-dev=0.90000.ckpt"


def test_b09_validation_runs_on_one_process_and_all_know_the_score(two_processes: SimpleNamespace) -> None:
    """On eight GPUs the original scored everything eight times and printed it eight times; scores could differ."""
    first, second = two_processes.first, two_processes.second
    assert (first["pipeline_calls"], second["pipeline_calls"]) == (1 + 2, 0)
    assert (first["score"], second["score"]) == (0.25, 0.25)
    assert (first["logged"], second["logged"]) == (0.25, 0.25)
    assert two_processes.printed.count("dev :0.25") == 3
    assert "dev :0.75" not in two_processes.printed


def test_b10_the_students_loss_dict_is_left_as_it_is() -> None:
    """A student that returns the same dict every time found the toolkit's losses in it, with their graphs."""
    own = {"student_loss": 0.5}
    seen = first_step(Constant(rows(BATCH, seed=1), loss=own), Constant(rows(BATCH, seed=2)))
    assert seen["student_loss"] == 0.5
    assert own == {"student_loss": 0.5}


def test_b10_the_callers_coefficients_are_left_as_they_are_and_copied() -> None:
    """One config dict often serves several runs; changing it later must not change this run either."""
    given = {"kd_loss": 1.0, "cos_embed_loss": 0.5}
    made = training(train_data_loader=loader_of((rows(BATCH),)), final_loss_coeff_dict=given)
    assert given == {"kd_loss": 1.0, "cos_embed_loss": 0.5}
    given["kd_loss"] = 100.0
    made.start_kd_training()
    assert column("train_final_loss") == [pytest.approx(column("kd_loss")[0] + 0.5 * column("cos_embed_loss")[0])]


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({"kd_loss": 1, "studnt_loss": 1}, "'studnt_loss'.*Did you mean 'student_loss'"),
        ({"kd_los": 1}, "'kd_los'.*Did you mean 'kd_loss'"),
    ],
    ids=["own_loss", "toolkits_loss"],
)
def test_b11_misspelt_losses_stop_the_training_with_a_clear_message(
    coefficients: dict[str, float], message: str
) -> None:
    """The original ignored the first, and crashed on the second with a message about the type int."""
    student = Student(add=lambda logits: {"loss": {"student_loss": logits.square().mean()}})
    with pytest.raises(ConfigError, match=message):
        training(student_model=student, final_loss_coeff_dict=coefficients).start_kd_training()


def test_b12_impossible_classes_do_not_spoil_the_loss() -> None:
    """Classes masked with -inf gave NaN in the original, and with it a ruined student."""
    said, taught = rows(BATCH, seed=1).double(), rows(BATCH, seed=2).double()
    said[:, 0] = taught[:, 0] = -math.inf
    student = Constant(said)
    seen = first_step(student, Constant(taught), optimize_method="sgd", learning_rate=1.0)
    expected = F.kl_div(said[:, 1:].log_softmax(-1), taught[:, 1:].softmax(-1), reduction="batchmean").item()
    assert seen["kd_loss"] == pytest.approx(expected, rel=1e-6)
    assert torch.isfinite(student.raw[:, 1:]).all()
    assert not torch.isnan(student.raw).any()


def test_b12_large_half_precision_logits_stay_finite() -> None:
    """Logits of +-6e4 in fp16 overflowed the original's losses to infinity."""
    said = torch.tensor([[6e4, 0.0, -6e4]], dtype=torch.float16)
    taught = torch.tensor([[6e4, 1.0, -5e4]], dtype=torch.float16)
    for temperature in (1.0, 4.0):
        assert torch.isfinite(KD(temperature)(said, taught))
    student, teacher = Constant(said.repeat(BATCH, 1)), Constant(taught.repeat(BATCH, 1))
    # with SGD: Adam's epsilon is 0 in fp16, and its first step would divide by it
    assert math.isfinite(first_step(student, teacher, learning_rate=1e-7, optimize_method="sgd")["kd_loss"])


def test_b12_a_large_temperature_keeps_its_precision() -> None:
    """At temperature 1e4 the original gave a negative divergence; the limit is half the variance of the gap."""
    said, taught = rows(8, seed=1), rows(8, seed=2)
    gap = (taught - said).double()
    limit = gap.var(dim=-1, unbiased=False).mean().item() / 2
    assert KD(1e4)(said, taught).item() == pytest.approx(limit, rel=1e-3)


def test_b12_padded_items_do_not_count() -> None:
    """The original had no mask: padded frames pulled the student towards the teacher's noise."""
    said, taught = rows(6, seed=1).reshape(2, 3, FEATURES), rows(6, seed=2).reshape(2, 3, FEATURES)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    spoiled = taught.clone()
    spoiled[~mask] = math.nan
    expected = F.kl_div(said[mask].log_softmax(-1), taught[mask].softmax(-1), reduction="batchmean").item()
    assert KD(1.0)(said, spoiled, mask=mask).item() == pytest.approx(expected, rel=1e-5)


def test_b12_temperature_zero_is_refused() -> None:
    """Temperature 0 gave NaN from the first step on."""
    with pytest.raises(ConfigError, match="temperature must be a finite number above 0, got 0"):
        training(temperature=0)


@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_b13_a_softmax_over_the_batch_is_refused(whose: str) -> None:
    """The original's own demo did this: the student learned which sample is most typical of a class."""
    wrong = {"prob": lambda logits: logits.softmax(dim=0), "log_prob": lambda logits: logits.log_softmax(dim=0)}
    models = {"student": Student(), "teacher": Student(seed=0)}
    models[whose].add = lambda logits: {key: make(logits) for key, make in wrong.items()}
    before = weights(models["student"])
    made = training(student_model=models["student"], teacher_model=models["teacher"])
    with pytest.raises(ModelContractError, match=rf"{whose} normalises .* over the batch \(dim=0\)"):
        made.start_kd_training()
    assert same(before, weights(models["student"]))


def test_b13_the_demos_recorded_objective_is_not_ours() -> None:
    """Recorded from the original's demo: the same logits give another loss when classes are the last axis."""
    (row,) = [row for row in golden_rows() if row["name"] == "seed_final_loss__resnet_demo_dim0"]
    golden = load(row)
    said, taught = golden.tensors["student_logits"].detach(), golden.tensors["teacher_logits"]
    temperature, coefficients = golden.hyperparameters["T"], golden.hyperparameters["coeff"]
    seen = first_step(Constant(said), Constant(taught), temperature=temperature, final_loss_coeff_dict=coefficients)
    soft, hard = (said / temperature).log_softmax(-1), (taught / temperature).softmax(-1)
    right = coefficients["kd_loss"] * F.kl_div(soft, hard, reduction="batchmean").item() * temperature**2
    right += coefficients["cos_embed_loss"] * 1.0785743941588644
    assert seen["train_final_loss"] == pytest.approx(right, rel=1e-6)
    assert seen["train_final_loss"] != pytest.approx(golden.expected, rel=1e-2)


def test_b18_the_accelerator_is_honoured(settings: dict[str, Any], four_gpus: None) -> None:
    """The original documented the argument and ignored it."""
    training(num_gpu_used=0, accelerator="gpu")
    assert settings["accelerator"] == "gpu"


def test_b18_the_default_coefficients_cannot_be_changed() -> None:
    """A mutable default that one run changes would change every later run of the process."""
    default: Any = inspect.signature(KnowledgeDistillationTraining).parameters["final_loss_coeff_dict"].default
    with pytest.raises(TypeError, match="does not support item assignment"):
        default["kd_loss"] = 5
    train()
    assert dict(default) == {"kd_loss": 1}


def test_b18_comet_without_hyperparameters_works(comet: type[FakeComet], comet_file: Path) -> None:
    """The original called dict(None) as soon as Comet was used without logging_param."""
    training(log_to_comet=True, comet_info_path=str(comet_file), logging_param=None)
    (experiment,) = comet.made
    assert experiment.hyperparameters == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"secret-key\nproject\n", "three lines"),
        (b"", "three lines"),
        (b"\n\n\n", "three lines"),
        (b"secret-key\n\nspace\n", "three lines"),
        (None, "cannot be read"),
        ("secret-key\nproject\nspace\n".encode("utf-16"), "(?i)comet file"),
    ],
    ids=["two_lines", "empty", "blank", "no_project", "missing", "utf16"],
)
def test_b18_a_broken_comet_file_is_named_and_its_key_is_not(
    content: bytes | None, message: str, comet: type[FakeComet], workplace: Path
) -> None:
    """The original went on with empty strings and failed at Comet's server, hours of set-up later."""
    file = workplace / "info.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DistillationError, match=message) as caught:
        training(log_to_comet=True, comet_info_path=str(file))
    assert "info.txt" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert comet.made == []


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte_order_mark"])
def test_b18_a_comet_file_from_windows_gives_a_clean_key(start: bytes, comet: type[FakeComet], workplace: Path) -> None:
    """Notepad writes other line ends, and may mark the file's start; the original sent them along with the key."""
    (workplace / "info.txt").write_bytes(start + b"key\r\nproject\r\nspace\r\n")
    training(log_to_comet=True, comet_info_path="info.txt")
    (experiment,) = comet.made
    assert experiment.arguments["api_key"] == "key"


def test_b18_comets_own_failure_does_not_show_the_key(
    comet: type[FakeComet], comet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs are shared; a key in a message, or in the error behind it, is a leaked key."""

    def refuse(**arguments: Any) -> None:
        raise ValueError(f"invalid api key {arguments['api_key']}")

    monkeypatch.setattr(tracking, "CometLogger", refuse)
    with pytest.raises(DistillationError, match=r"(?i)comet") as caught:
        training(log_to_comet=True, comet_info_path=str(comet_file))
    behind: list[BaseException | None] = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert not [error for error in behind if error is not None and "secret-key" in str(error)]


class Deep(nn.Module):
    """Twelve repeated layers, each of which names itself in its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(12))
        for number, layer in enumerate(self.layers):
            nn.init.constant_(layer.bias, number)


def test_b19_every_k_spreads_over_the_whole_stack() -> None:
    """The original took 0, 2, 4, 6, 8 of twelve: the upper third of the teacher was never in the student."""
    student = keep_layers(Deep(), 5, "every_k")
    assert [int(layer.bias[0]) for layer in student.layers] == [0, 2, 4, 7, 9]


def test_b19_the_last_layer_can_be_kept() -> None:
    """The original had no rule for a student that needs what its teacher's last layer does."""
    student = keep_layers(Deep(), 5, "spread")
    assert [int(layer.bias[0]) for layer in (student.layers[0], student.layers[-1])] == [0, 11]


def test_b19_a_student_deeper_than_its_teacher_is_refused() -> None:
    """The original went on with negative indices, or failed in `range`."""
    with pytest.raises(ConfigError, match=r"from 1 to 12.*got 13"):
        keep_layers(Deep(), 13)


def test_b20_a_student_built_by_the_constructor_is_seeded() -> None:
    """The original seeded after the student was built: the same script gave another student every time."""
    made = []
    for draws in (0, 5):
        torch.rand(draws)
        made.append(training(student_model=ReadmeStudent, teacher_model=ReadmeStudent(), seed=11).get_student_model())
    assert isinstance(made[0], ReadmeStudent)
    assert same(weights(made[0]), weights(made[1]))
    other = training(student_model=ReadmeStudent, teacher_model=ReadmeStudent(), seed=12).get_student_model()
    assert not same(weights(made[0]), weights(other))


def test_b20_a_checkpoint_brings_every_generator_back() -> None:
    """The wav2vec2 student drops layers with NumPy: without its state a resumed run is another run."""
    drawn: list[tuple[float, float, float]] = []

    class Drawing(NoisyStudent):
        def forward(self, *inputs: Any, **keywords: Any) -> dict[str, Any]:
            if self.training:
                drawn.append((random.random(), float(np.random.rand()), torch.rand(()).item()))
            return super().forward(*inputs, **keywords)

    loaders = {"dev": labelled_loader()}
    train(student_model=Drawing(), max_epoch=2, val_data_loaders=loaders, inference_pipeline=Accuracy())
    whole = drawn.copy()
    drawn.clear()
    (checkpoint,) = Path("checkpoints").glob("student-epoch=000-*.ckpt")
    train(
        student_model=Drawing(),
        max_epoch=2,
        seed=99,
        val_data_loaders=loaders,
        inference_pipeline=Accuracy(),
        resume_from_checkpoint=str(checkpoint),
    )
    assert drawn == whole[BATCHES:]
    assert len(drawn) == BATCHES


def test_b22_importing_neither_ends_the_program_nor_changes_the_path() -> None:
    """The original's modules ended in exit(), changed sys.path and held paths of their author's machine."""
    code = (
        "import sys; before = list(sys.path); import knowledge_distillation.kd_training; "
        "assert sys.path == before; print('still here')"
    )
    source = Path(knowledge_distillation.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "still here", done.stderr


def test_b22_the_package_holds_no_private_paths_and_no_vendored_fork() -> None:
    """Absolute paths work on one machine only; a copied library never gets its security fixes."""
    package = Path(knowledge_distillation.__file__).parent
    sources = sorted(package.rglob("*.py"))
    assert sources
    # the original's arguments have the fork's name, so that imports are looked for
    words = ("/home/", "sys.path.append", "import fairseq", "from fairseq")
    assert [path for path in sources for word in words if word in path.read_text()] == []
    assert list(package.rglob("*fairseq*")) == []


@pytest.mark.parametrize("rate", [1e-6, 1e-7])
def test_b23_small_learning_rates_still_anneal(rate: float) -> None:
    """The original's floor of 1e-6 made its own demo's schedule flat, and raised every smaller rate."""
    train(
        max_epoch=9,
        train_data_loader=loader_of((rows(),)),
        optimize_method="sgd",
        scheduler_method="cosine_anneal",
        learning_rate=rate,
    )
    logged = column("lr-SGD")
    assert logged[0] == pytest.approx(rate)
    assert all(later < earlier for earlier, later in itertools.pairwise(logged))
    floor = min(1e-6, rate / 10)
    expected = [floor + (rate - floor) * (1 + math.cos(math.pi * epoch / 9)) / 2 for epoch in range(9)]
    assert logged == pytest.approx(expected, rel=1e-6)


def test_b24_a_teachers_answers_need_not_be_computed_again(workplace: Path) -> None:
    """The original asked a 317 M teacher for the same answers in every epoch."""
    teacher = Teacher()

    class Remembering:
        fingerprint = "teacher of seed 0"

        def __init__(self) -> None:
            self.answers: dict[float, Signals] = {}

        def prepare(self, device: torch.device) -> None:
            """Nothing to move."""

        def signals(self, batch: Any, wanted: Any = ()) -> Signals:
            key = float(batch[0].sum())
            if key not in self.answers:
                with torch.no_grad():
                    self.answers[key] = original_teacher(teacher, batch, 1.0)
            return self.answers[key]

        def release(self) -> None:
            """Nothing to undo."""

    module = DistillationModule(
        Student(), Remembering(), {"kd": {"loss": "cosine"}}, adapter="original", train_loader=inputs_loader()
    )
    trainer = lightning.pytorch.Trainer(
        max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module)
    assert len(teacher.calls) == ROWS // BATCH
    assert trainer.global_step == 3 * BATCHES


def test_b24_a_loss_of_the_students_own_does_not_run_the_teacher_for_nothing() -> None:
    """A control run without the teacher's loss paid for the teacher at every step, for two monitors."""
    teacher = Teacher()
    student = Student(add=lambda logits: {"loss": {"student_loss": logits.square().mean()}})
    train(
        student_model=student,
        teacher_model=teacher,
        train_data_loader=inputs_loader(BATCH * 55),
        final_loss_coeff_dict={"student_loss": 1},
    )
    assert len(teacher.calls) == len(column("kd_loss")) < 55


def test_b24_distill_does_not_score_the_untrained_student_first(workplace: Path) -> None:
    """A whole validation before the first step can take longer than an epoch; only the old entry point keeps it."""
    pipeline = Scorer()
    student = nn.Linear(FEATURES, CLASSES)
    settings = {"enable_progress_bar": False}
    loaders = {"dev": labelled_loader()}
    distill(
        nn.Linear(FEATURES, CLASSES),
        student,
        labelled_loader(),
        loaders,
        pipeline=pipeline,
        max_epochs=2,
        trainer=settings,
    )
    assert len(pipeline.models) == 2
    assert written(workplace)
