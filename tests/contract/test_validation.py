"""F. Validation and the inference pipeline: statements 36 to 42."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.kd_training import ScorePrinter
from tests.contract.toy import (
    Accuracy,
    Scorer,
    Student,
    Teacher,
    column,
    labelled_loader,
    same,
    train,
    training,
    weights,
)


@pytest.mark.parametrize(
    "score",
    [0.25, 1, torch.tensor(0.25), torch.tensor([0.25]), torch.tensor(0.25, dtype=torch.float64)],
    ids=["float", "int", "tensor", "one_element", "float64"],
)
def test_36_a_pipeline_is_any_object_with_the_method_and_any_number(score: Any) -> None:
    """A user's pipeline inherits from nothing of ours; asking for more would break every existing one."""
    pipeline = SimpleNamespace(run_inference_pipeline=lambda model, data_loader: {"inference_result": score, "n": 3})
    made = train(val_data_loaders={"dev": labelled_loader()}, inference_pipeline=pipeline)
    assert float(made.trainer.callback_metrics["dev"]) == float(score)


def test_36_nothing_has_to_be_validated() -> None:
    """A user without validation data would meet warnings about a list that is not theirs."""
    made = training()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Total length of")
        made.start_kd_training()
    assert made.trainer.global_step == 3


def test_37_every_loader_in_order_after_every_epoch_with_the_student_in_eval_mode() -> None:
    """A loader that is skipped, replaced or scored in training mode gives a score of something else."""
    student, pipeline = Student(), Scorer()
    loaders = {"zeta": labelled_loader(4), "alpha": labelled_loader(8), "mid": labelled_loader()}
    train(student_model=student, val_data_loaders=loaders, inference_pipeline=pipeline, max_epoch=2)
    assert len(pipeline.loaders) == 3 * (1 + 2)
    for got, expected in zip(pipeline.loaders, list(loaders.values()) * 3, strict=True):
        assert got is expected
    assert all(model is student for model in pipeline.models)
    assert not any(pipeline.training)


def test_38_the_untrained_student_is_scored_once_on_whole_loaders_first(capsys: pytest.CaptureFixture[str]) -> None:
    """The first printed score is the yardstick for all that follow; on a part of the data it would mislead."""
    student = Student()
    untrained = weights(student)[0]
    pipeline = Scorer(0.1, 0.9)
    loader = labelled_loader(40)
    train(student_model=student, val_data_loaders={"dev": loader}, inference_pipeline=pipeline)
    assert len(pipeline.weights) == 2
    assert torch.equal(pipeline.weights[0], untrained)
    assert not torch.equal(pipeline.weights[1], untrained)
    assert pipeline.loaders[0] is loader
    printed = capsys.readouterr().out
    assert printed.index("\ndev :0.1\n") < printed.index("\ndev :0.9\n")
    assert column("dev") == [pytest.approx(0.9)]


def test_39_scores_are_logged_under_the_loaders_name_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read the printed line, dashboards the metric; both know the loader's own name."""
    pipeline = Scorer(0.0, 0.25, 0.75)
    made = train(val_data_loaders={"mnist_test": labelled_loader()}, inference_pipeline=pipeline, max_epoch=2)
    assert column("mnist_test") == [0.25, 0.75]
    assert float(made.trainer.callback_metrics["mnist_test"]) == 0.75
    assert "\nmnist_test :0.25\n" in (printed := capsys.readouterr().out)
    assert "\nmnist_test :0.75\n" in printed


def test_40_the_pipeline_rules_over_gradients_and_devices() -> None:
    """A pipeline that measures gradients, or moves its own data, must find plain tensors and the bare student."""

    class Sensitivity:
        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
            device = next(model.parameters()).device
            inputs: Tensor = next(iter(data_loader))[0].to(device).requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(model(inputs)["logits"].sum(), [inputs])
            return {"inference_result": gradient.norm()}

    student = Student()
    train(student_model=student, val_data_loaders={"dev": labelled_loader()}, inference_pipeline=Sensitivity())
    expected = student.net.weight.sum(dim=0).norm() * 4**0.5
    assert column("dev")[0] == pytest.approx(expected.item(), rel=1e-5)


def test_41_memory_in_use_is_printed_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users size their batches by these two lines."""
    used = {"active_bytes.all.current": 12_500_000, "reserved_bytes.all.current": 20_000_000}
    module = training().pytorch_lightning_module
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: used)
    strategy = SimpleNamespace(root_device=torch.device("cuda", 2))
    ScorePrinter().on_validation_end(SimpleNamespace(is_global_zero=True, strategy=strategy), module)  # type: ignore[arg-type]
    active, reserved = capsys.readouterr().out.splitlines()
    assert active == f"GPU 2 current active MB: {12_500_000 * 1e-6}"
    assert reserved == f"GPU 2 current reserved MB: {20_000_000 * 1e-6}"


def test_41_nothing_is_printed_about_gpus_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    """The original asked CUDA after every validation and so could not train on a CPU at all."""
    train(val_data_loaders={"dev": labelled_loader()}, inference_pipeline=Accuracy())
    assert "MB" not in capsys.readouterr().out


def test_42_several_loaders_have_a_metric_each() -> None:
    """dev-clean and dev-other would overwrite each other, or be averaged."""
    loaders = {"dev_clean": labelled_loader(), "dev-other": labelled_loader(8)}
    made = train(val_data_loaders=loaders, inference_pipeline=Scorer(0.0, 0.0, 0.25, 0.75))
    assert column("dev_clean") == [0.25]
    assert column("dev-other") == [0.75]
    assert made.pytorch_lightning_module.scores == {"dev_clean": 0.25, "dev-other": 0.75}


def test_42_scores_are_those_of_the_trained_student() -> None:
    """A score of a copy, of the teacher or of the weights before the epoch would look like no progress."""
    student, loader = Student(), labelled_loader(40)
    train(student_model=student, val_data_loaders={"dev": loader}, inference_pipeline=Accuracy(), learning_rate=0.3)
    assert not same(weights(student), weights(Student()))
    assert column("dev") == [pytest.approx(Accuracy().run_inference_pipeline(student, loader)["inference_result"])]
    assert Accuracy().run_inference_pipeline(Teacher(), loader)["inference_result"] == 1.0
