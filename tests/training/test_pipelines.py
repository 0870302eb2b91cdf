"""What goes wrong for a user when scores are computed or read wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassF1Score

from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.signals import Signals
from knowledge_distillation.training.metric_pipeline import MetricPipeline
from knowledge_distillation.training.pipelines import (
    AccuracyPipeline,
    check_pipeline,
    higher_is_better,
    score,
    to_device,
)
from tests.training.toys import Difficult, Scripted, flags, loader, mlp, points


def test_accuracy_counts_items_not_batches_and_leaves_unlabelled_ones_out() -> None:
    """Otherwise a small last batch weighs as much as a full one, and missing labels count as errors."""
    inputs, labels = points(11, seed=2).tensors
    labels = labels.clone()
    labels[[1, 7]] = -100
    model = mlp(4)
    result = AccuracyPipeline().run_inference_pipeline(model, DataLoader(TensorDataset(inputs, labels), batch_size=4))
    right = np.argmax(model(inputs).detach().numpy(), axis=-1) == labels.numpy()
    assert result == {"inference_result": right.sum() / 9, "count": 9}


def test_accuracy_reads_token_models_and_dicts() -> None:
    """Otherwise accuracy is for image classifiers only."""

    class Tokens(nn.Module):
        def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": nn.functional.one_hot(ids, 5).float()}

    batch = {"ids": torch.tensor([[1, 2], [3, 4]]), "labels": torch.tensor([[1, 0], [3, -100]])}
    assert AccuracyPipeline().run_inference_pipeline(Tokens(), [batch])["inference_result"] == 2 / 3


def test_scoring_uses_eval_mode_without_gradient_and_gives_modes_back() -> None:
    """Otherwise dropout lowers the score, and validation changes batch statistics."""
    model = Difficult()
    before = flags(model)
    seen: list[Any] = []

    def adapter(model: nn.Module, batch: Any, temperature: float) -> Signals:
        seen.append((model.training, torch.is_grad_enabled()))
        return Signals(logits=model(batch[0]), labels=batch[1])

    AccuracyPipeline(adapter).run_inference_pipeline(model, loader())
    assert seen == [(False, False)] * 3
    assert flags(model) == before


@pytest.mark.parametrize(
    "batches",
    [[torch.zeros(2, 5)], [(torch.zeros(2, 5), torch.tensor([-100, -100]))]],
    ids=["no labels", "all unlabelled"],
)
def test_accuracy_without_labels_is_refused(batches: Any) -> None:
    """Otherwise the score is 0 / 0, or 0 for a good student."""
    with pytest.raises(ModelContractError, match="label"):
        AccuracyPipeline().run_inference_pipeline(mlp(), batches)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "'inference_result', got NoneType"),
        (0.5, "'inference_result', got float"),
        ({"accuracy": 0.5}, r"'inference_result', got \['accuracy'\]"),
        ({"inference_result": "high"}, "must be one number, got str"),
        ({"inference_result": None}, "must be one number, got NoneType"),
    ],
)
def test_a_pipeline_without_a_number_is_refused(result: Any, message: str) -> None:
    """Otherwise no checkpoint is ever the best and the user wonders why."""

    class Wrong:
        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> Any:
            return result

    with pytest.raises(ModelContractError, match=message):
        score(Wrong(), mlp(), [], "test")


@pytest.mark.parametrize("value", [1, 0.25, torch.tensor(0.25), np.float32(0.25)])
def test_any_single_number_is_a_score(value: Any) -> None:
    """Otherwise metrics of torchmetrics or NumPy need a conversion by hand."""
    assert score(Scripted(value), mlp(), [], "test") == float(value)


def test_a_pipeline_without_the_method_is_refused() -> None:
    """Otherwise the mistake is found after the first epoch."""
    check_pipeline(Scripted(1.0))
    for wrong in (None, object(), lambda model, loader: 1.0):
        with pytest.raises(ConfigError, match="run_inference_pipeline"):
            check_pipeline(wrong)


@pytest.mark.parametrize("name", ["test", "accuracy", "top1", "bleu"])
def test_scores_are_better_when_higher_unless_said(name: str) -> None:
    """Otherwise the worst checkpoint is kept as the best."""
    assert higher_is_better(object(), name)


@pytest.mark.parametrize("name", ["wer", "test_loss", "dev-clean WER", "val_cer", "RMSE", "perplexity", "valMAE"])
def test_names_of_errors_are_better_when_lower(name: str) -> None:
    """Otherwise the checkpoint with the highest error rate is kept as the best."""
    assert not higher_is_better(object(), name)


@pytest.mark.parametrize("name", ["flowers", "cancer", "power", "soccer", "answers", "apples", "glossary"])
def test_a_data_sets_name_that_contains_an_errors_letters_is_no_error(name: str) -> None:
    """Otherwise the accuracy on 'flowers' is minimised, because 'wer' is in it."""
    assert higher_is_better(object(), name)


def test_what_the_pipeline_says_wins_over_the_name() -> None:
    """Otherwise a pipeline cannot correct a guess."""
    assert higher_is_better(Scripted(higher_is_better=True), "test_loss")
    assert not higher_is_better(Scripted(higher_is_better=False), "accuracy")


def test_every_tensor_of_a_nested_batch_is_moved() -> None:
    """Otherwise scoring on a GPU fails on batches of dicts or lists."""
    meta = torch.device("meta")
    batch = {"x": torch.zeros(2), "more": [torch.ones(1), (torch.ones(2), "text")], "n": 3}
    moved = to_device(batch, meta)
    assert moved["x"].device == meta
    assert moved["more"][0].device == meta
    assert moved["more"][1][0].device == meta
    assert moved["more"][1][1] == "text"
    assert moved["n"] == 3


def test_a_metric_of_torchmetrics_scores_in_parts_as_in_whole() -> None:
    """Otherwise the mean of two processes' F1 passes for the F1 of all samples."""
    inputs, labels = points(23, seed=4).tensors
    model = mlp(4)
    pipeline = MetricPipeline(MulticlassF1Score(num_classes=3))
    said = model(inputs).argmax(-1)
    shares = []
    for number in range(3):
        right, given, taught = ((said == number) & (labels == number)).sum(), (said == number).sum(), labels == number
        shares.append(float(2 * right / (given + taught.sum())))
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=4)
    assert score(pipeline, model, loader, "dev") == pytest.approx(sum(shares) / 3)
    batches = list(loader)
    parts = [pipeline.measure_part(model, part) for part in (batches[:1], batches[1:], [])]
    assert float(pipeline.combine(parts)["inference_result"]) == pytest.approx(sum(shares) / 3)
    assert higher_is_better(pipeline, "dev")


def test_a_metric_is_asked_for_logits_and_labels() -> None:
    """Otherwise the user reads an error of torchmetrics about None."""
    with pytest.raises(ModelContractError, match="needs logits and labels"):
        MetricPipeline(MulticlassF1Score(num_classes=3)).run_inference_pipeline(mlp(), [torch.zeros(2, 5)])
    with pytest.raises(ConfigError, match="Build it first"):
        MetricPipeline(MulticlassF1Score)  # type: ignore[arg-type]
