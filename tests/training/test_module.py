"""What goes wrong for a user when the Lightning module trains something else than the objective says."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import ConfigError, NonFiniteError
from knowledge_distillation.objective import Term
from tests.training.toys import (
    Difficult,
    Losses,
    Scripted,
    Stream,
    filled,
    identical,
    loader,
    mlp,
    no_warning,
    points,
    quiet_trainer,
    snapshot,
)

TEMPERATURE, SOFT = 4.0, 0.9


def loss_by_hand(student: nn.Module, teacher: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Hinton's two terms, written with torch alone."""
    with torch.no_grad():
        target = (teacher(inputs) / TEMPERATURE).softmax(-1)
    logits = student(inputs)
    soft = F.kl_div((logits / TEMPERATURE).log_softmax(-1), target, reduction="batchmean") * TEMPERATURE**2
    return soft, F.cross_entropy(logits, labels)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_twenty_steps_equal_a_hand_written_loop(optimizer: Any) -> None:
    """Otherwise what is trained is not Hinton's distillation, whatever the log says."""
    data, teacher = loader(32), mlp(9).eval()
    student, twin = mlp(1), mlp(1)
    losses = Losses()
    module = DistillationModule(student, teacher, "kd", optimizer=optimizer, learning_rate=0.05)
    quiet_trainer(max_epochs=5, callbacks=[losses]).fit(module, data)

    engine, expected = optimizer(twin.parameters(), lr=0.05), []
    for _ in range(5):
        for inputs, labels in data:
            soft, hard = loss_by_hand(twin, teacher, inputs, labels)
            loss = SOFT * soft + (1 - SOFT) * hard
            engine.zero_grad()
            loss.backward()
            engine.step()
            expected.append(float(loss.detach()))
    assert len(expected) == 20
    assert losses.values == pytest.approx(expected, abs=1e-6)
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_a_layer_term_with_a_projector_equals_a_hand_written_loop() -> None:
    """Otherwise feature distillation compares other tensors, or its projector is never trained."""
    data, teacher = loader(32), mlp(9, hidden=6)
    student, twin = mlp(1), mlp(1)
    projector, projector_twin = (filled(nn.Linear(8, 6), 4) for _ in range(2))
    hint = Term(nn.MSELoss(), 2.0, student="hidden", teacher="hidden", projector=projector)
    losses = Losses()
    module = DistillationModule(student, teacher, {"hint": hint}, optimizer="adam", learning_rate=0.05)
    quiet_trainer(max_epochs=2, callbacks=[losses]).fit(module, data)

    engine, expected = torch.optim.Adam([*twin.parameters(), *projector_twin.parameters()], lr=0.05), []
    for _ in range(2):
        for inputs, _ in data:
            loss = 2.0 * F.mse_loss(projector_twin(twin.hidden(inputs)), teacher.hidden(inputs).detach())
            engine.zero_grad()
            loss.backward()
            engine.step()
            expected.append(float(loss.detach()))
    assert losses.values == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(projector.weight, projector_twin.weight)
    assert identical(snapshot(student.head), snapshot(mlp(1).head))


def test_a_projector_by_name_is_trained_with_the_student() -> None:
    """Otherwise `projector="auto"` is built after the optimiser and stays at its random start."""
    hint = Term(nn.MSELoss(), student="hidden", teacher="hidden", projector="auto")
    module = DistillationModule(mlp(1), mlp(9, hidden=6), {"hint": hint}, learning_rate=0.05)
    trainer = quiet_trainer()
    trainer.fit(module, loader())
    learned = dict(module.objective.named_parameters())
    assert sorted(tuple(parameter.shape) for parameter in learned.values()) == [(6,), (6, 8)]
    trained = {id(parameter) for group in trainer.optimizers[0].param_groups for parameter in group["params"]}
    assert {id(parameter) for parameter in learned.values()} <= trained


def test_the_teacher_is_in_no_optimiser_state_dict_or_checkpoint(tmp_path: Path) -> None:
    """Otherwise checkpoints are as large as the teacher, and the teacher trains along."""
    teacher, student = Difficult(), mlp()
    module = DistillationModule(student, teacher, "kd")
    trainer = quiet_trainer()
    trainer.fit(module, loader())
    trained = {id(parameter) for group in trainer.optimizers[0].param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in student.parameters()}
    assert {name.partition(".")[0] for name in module.state_dict()} == {"student_model"}
    trainer.save_checkpoint(tmp_path / "now.ckpt")
    saved = torch.load(tmp_path / "now.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == {f"student_model.{name}" for name in student.state_dict()}
    assert len(saved["optimizer_states"][0]["param_groups"][0]["params"]) == 4


def test_frozen_parameters_of_the_student_stay_out_of_the_optimiser() -> None:
    """Otherwise weight decay shrinks the layers that the user froze."""
    student = mlp()
    student.hidden.requires_grad_(False)
    before = snapshot(student.hidden)
    module = DistillationModule(student, mlp(9), "kd", optimizer={"name": "adamw", "weight_decay": 0.5})
    trainer = quiet_trainer()
    trainer.fit(module, loader())
    assert identical(snapshot(student.hidden), before)
    trained = [id(parameter) for group in trainer.optimizers[0].param_groups for parameter in group["params"]]
    assert trained == [id(student.head.weight), id(student.head.bias)]


def test_accumulated_small_batches_equal_one_large_batch() -> None:
    """Otherwise users with little memory train with another learning rate, without knowing."""
    results = []
    for batch_size, accumulate in ((16, 1), (4, 4)):
        student = mlp(1)
        module = DistillationModule(student, mlp(9), "kd", optimizer="sgd_momentum", learning_rate=0.1)
        quiet_trainer(max_epochs=3, accumulate_grad_batches=accumulate).fit(module, loader(32, batch_size=batch_size))
        results.append(student.state_dict())
    for name, tensor in results[0].items():
        torch.testing.assert_close(results[1][name], tensor, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradient_clipping_limits_the_step(algorithm: str) -> None:
    """Otherwise the Trainer's clipping is accepted and does nothing."""
    student = mlp()
    before = torch.cat([parameter.detach().clone().flatten() for parameter in student.parameters()])
    module = DistillationModule(student, mlp(9), {"kd": 100.0}, optimizer="sgd", learning_rate=1.0)
    quiet_trainer(gradient_clip_val=0.01, gradient_clip_algorithm=algorithm).fit(module, loader(8))
    step = torch.cat([parameter.detach().flatten() for parameter in student.parameters()]) - before
    size = step.norm() if algorithm == "norm" else step.abs().max()
    assert float(size) == pytest.approx(0.01, rel=1e-3)


def test_loaders_given_to_fit_are_logged_as_val_components_over_all_items() -> None:
    """Otherwise users of a plain Trainer see no validation, or a mean in which a small last batch counts too much."""
    student, teacher = mlp(1), mlp(9)
    validation = points(11, seed=5)
    trainer = quiet_trainer(limit_train_batches=0, num_sanity_val_steps=0)
    module = DistillationModule(student, teacher, "kd")
    (logged,) = trainer.validate(module, DataLoader(validation, batch_size=4), verbose=False)
    with torch.no_grad():
        soft, hard = loss_by_hand(student, teacher, *validation.tensors)
    assert logged["val_kd"] == pytest.approx(float(soft), rel=1e-5)
    assert logged["val_cross_entropy"] == pytest.approx(float(hard), rel=1e-5)
    assert logged["val_final_loss"] == pytest.approx(float(0.9 * soft + 0.1 * hard), rel=1e-5)
    during = quiet_trainer()
    during.fit(module, loader(), DataLoader(validation, batch_size=4))
    assert {"val_kd", "val_cross_entropy", "val_final_loss"} <= during.callback_metrics.keys()


def test_named_loaders_are_scored_whole_under_their_names_in_eval_mode() -> None:
    """Otherwise scores are means over batches, or batch norm learns from the validation set."""
    pipeline = Scripted(0.25, 0.5, 0.75, 1.0)
    student = Difficult().train()
    module = DistillationModule(
        student, mlp(9), "kd", val_loaders={"first": loader(8), "second": loader(8)}, pipeline=pipeline
    )
    trainer = quiet_trainer(max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(module, loader())
    assert module.scores == {"first": 0.75, "second": 1.0}
    assert float(trainer.callback_metrics["second"]) == 1.0
    assert pipeline.training == [False] * 4


def test_the_default_score_is_accuracy() -> None:
    """Otherwise a user without a pipeline gets another number than the word says."""
    student, data = mlp(1), points(20, seed=3)
    module = DistillationModule(student, None, "labels", val_loaders={"test": DataLoader(data, batch_size=7)})
    quiet_trainer().validate(module, verbose=False)
    inputs, labels = data.tensors
    assert module.scores["test"] == pytest.approx(float((student(inputs).argmax(-1) == labels).float().mean()))


def test_the_epochs_mean_loss_is_the_mean_of_its_steps() -> None:
    """Otherwise the checkpoint of a run without validation is chosen by one lucky batch."""
    losses = Losses()
    trainer = quiet_trainer(callbacks=[losses])
    trainer.fit(DistillationModule(mlp(1), mlp(9), "kd"), loader(40))
    assert len(losses.values) == 5
    assert float(trainer.callback_metrics["train_final_loss_epoch"]) == pytest.approx(sum(losses.values) / 5, rel=1e-5)


def test_components_and_monitors_are_logged_unweighted() -> None:
    """Otherwise the curves of two runs with other weights cannot be compared."""
    student, teacher, data = mlp(1), mlp(9), points(8)
    with torch.no_grad():
        soft, hard = loss_by_hand(student, teacher, *data.tensors)
    trainer = quiet_trainer()
    trainer.fit(DistillationModule(student, teacher, {"kd": 0.5, "cross_entropy": 0}), DataLoader(data, batch_size=8))
    assert float(trainer.callback_metrics["kd"]) == pytest.approx(float(soft), rel=1e-5)
    assert float(trainer.callback_metrics["cross_entropy"]) == pytest.approx(float(hard), rel=1e-5)
    assert float(trainer.callback_metrics["train_final_loss"]) == pytest.approx(float(0.5 * soft), rel=1e-5)


def test_gradient_norms_are_those_of_torch() -> None:
    """Otherwise the numbers by which users choose a clipping value are wrong."""
    student, teacher, data = mlp(1), mlp(9), points(8)
    twin = copy.deepcopy(student)
    soft, _ = loss_by_hand(twin, teacher, *data.tensors)
    soft.backward()
    norms = [parameter.grad.norm() for parameter in twin.parameters()]
    trainer = quiet_trainer()
    trainer.fit(DistillationModule(student, teacher, "soft", gradient_norm=2.0), DataLoader(data, batch_size=8))
    logged = trainer.callback_metrics
    assert float(logged["grad_2.0_norm_total"]) == pytest.approx(math.sqrt(sum(float(n) ** 2 for n in norms)), rel=1e-5)
    assert float(logged["grad_2.0_norm_student_model.hidden.weight"]) == pytest.approx(float(norms[0]), rel=1e-5)


def test_nan_in_the_first_batch_names_the_model() -> None:
    """Otherwise the user searches the student for a fault of the teacher."""
    for broken, name in ((0, "student"), (1, "teacher")):
        models = [mlp(1), mlp(9)]
        with torch.no_grad():
            models[broken].head.bias[0] = float("nan")
        with pytest.raises(NonFiniteError, match=f"{name}'s logits hold NaN"):
            quiet_trainer().fit(DistillationModule(*models, "kd"), loader())


def test_a_loss_that_becomes_nan_stops_training_with_its_components() -> None:
    """Otherwise a night of training is spent on NaN."""
    module = DistillationModule(mlp(1), mlp(9), "kd", optimizer="sgd", learning_rate=1e30)
    with pytest.raises(
        NonFiniteError, match=r"training loss is (nan|inf) at step \d+.*kd.*cross_entropy.*learning rate"
    ):
        quiet_trainer(max_epochs=5).fit(module, loader())


def test_schedules_see_progress_from_the_start_towards_the_end() -> None:
    """Otherwise a weight that should fade over training fades over an epoch, or never."""
    seen: list[float] = []

    def watch(progress: float) -> float:
        seen.append(progress)
        return 1.0

    module = DistillationModule(mlp(1), mlp(9), {"kd": Term("kd", schedule=watch)})
    quiet_trainer(max_epochs=2, accumulate_grad_batches=2).fit(module, loader(32))
    assert seen == pytest.approx([0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75])


def test_progress_over_a_stream_without_length_is_refused() -> None:
    """Otherwise a fading weight is gone after the first step, in silence."""
    module = DistillationModule(mlp(1), mlp(9), {"kd": Term("kd", schedule=lambda progress: 1 - 0.5 * progress)})
    with pytest.raises(ConfigError, match=r"needs the number of training steps.*no length"):
        quiet_trainer().fit(module, DataLoader(Stream(points(16)), batch_size=8))


def test_a_pipeline_that_leaves_the_student_in_eval_mode_does_no_harm() -> None:
    """Otherwise dropout and batch norm are off from the second epoch on."""

    class Careless(Scripted):
        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
            model.eval()
            return super().run_inference_pipeline(model, data_loader)

    student, modes = Difficult().train(), []
    student.body.register_forward_hook(lambda module, *_: modes.append(module.training))
    pipeline = Careless(0.1, 0.2)
    module = DistillationModule(student, mlp(9), "kd", val_loaders={"test": loader(8)}, pipeline=pipeline)
    quiet_trainer(max_epochs=2, num_sanity_val_steps=0).fit(module, loader())
    assert modes == [True] * 6


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")
def test_a_student_that_comes_in_eval_mode_is_trained_in_train_mode() -> None:
    """Otherwise a pretrained student, as libraries hand it out, trains without dropout and batch statistics."""
    student, modes = Difficult().eval(), []
    student.body.register_forward_hook(lambda module, *_: modes.append(module.training))
    quiet_trainer().fit(DistillationModule(student, mlp(9), "kd"), loader())
    assert modes == [True] * 3


def test_a_users_own_trainer_saves_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    """Otherwise the module works with our `distill` only."""

    def train(epochs: int, ckpt: str | None = None) -> nn.Module:
        student = mlp(1)
        module = DistillationModule(student, mlp(9), "kd", optimizer="adam", schedule="cosine_anneal")
        trainer = quiet_trainer(max_epochs=epochs)
        trainer.fit(module, loader(), ckpt_path=ckpt, weights_only=True if ckpt else None)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return student

    whole = train(4)
    train(2)
    continued = train(4, str(tmp_path / "2.ckpt"))
    assert identical(snapshot(whole), snapshot(continued))


def test_mixed_precision_trains() -> None:
    """Otherwise the Trainer's precision breaks on the teacher's or the losses' types."""
    student = mlp(1)
    trainer = quiet_trainer(precision="bf16-mixed")
    trainer.fit(DistillationModule(student, Difficult(), "kd"), loader())
    assert not identical(snapshot(student), snapshot(mlp(1)))
    assert student.hidden.weight.dtype == torch.float32


def test_a_run_without_validation_gives_no_warning() -> None:
    """Otherwise every such run asks the user whether an empty list was intended."""
    with no_warning():
        quiet_trainer().fit(DistillationModule(mlp(1), mlp(9)), loader())


def model_sharing_with(teacher: nn.Sequential) -> nn.Module:
    return nn.Sequential(teacher.hidden, nn.ReLU(), filled(nn.Linear(8, 3), 2))


def test_a_student_that_shares_trainable_layers_with_the_teacher_is_refused() -> None:
    """Otherwise training the student changes the teacher, which was promised to stay as it is."""
    teacher = mlp(9)
    with pytest.raises(ConfigError, match="share"):
        DistillationModule(model_sharing_with(teacher), teacher)


@pytest.mark.filterwarnings("ignore:Found 1 module.* in eval mode")
def test_a_student_that_shares_frozen_layers_with_the_teacher_is_accepted() -> None:
    """Otherwise common frozen embeddings must be copied."""
    teacher = mlp(9)
    teacher.hidden.requires_grad_(False)
    before = snapshot(teacher)
    quiet_trainer().fit(DistillationModule(model_sharing_with(teacher), teacher), loader())
    assert identical(snapshot(teacher), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": "resnet"}, "student must be an nn.Module, got str"),
        ({"teacher": "resnet"}, "teacher must be an nn.Module or a Teacher"),
        ({"teacher": None}, r"no teacher.*objective='labels'"),
        ({"objective": "kdd"}, r"'kdd'.*'kd'"),
        ({"optimizer": "adamm"}, r"'adamm'.*'adam"),
        ({"schedule": "cosin"}, r"'cosin'.*'cosine'"),
        ({"adapter": "autoo"}, r"'autoo'.*'auto'"),
        ({"learning_rate": 0}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "1e-3"}, "learning_rate"),
        ({"temperature": -1}, "temperature must be a finite number above 0"),
        ({"pipeline": object()}, "run_inference_pipeline"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(change: dict[str, Any], message: str) -> None:
    """Otherwise it is found in the first step, or never."""
    arguments = {"student": mlp(1), "teacher": mlp(9), "objective": "kd", **change}
    with pytest.raises(ConfigError, match=message):
        DistillationModule(**arguments)


def test_a_student_without_trainable_parameters_or_equal_to_its_teacher_is_refused() -> None:
    """Otherwise training runs and changes nothing, or the student learns from itself."""
    model = mlp(1)
    with pytest.raises(ConfigError, match="same object"):
        DistillationModule(model, model)
    with pytest.raises(ConfigError, match="no trainable parameter"):
        DistillationModule(model.requires_grad_(False), mlp(9))
