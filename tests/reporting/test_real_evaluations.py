"""What goes wrong for a reader whose data are poor: the report is made of what `evaluate` really writes then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation.reporting import write_report
from tests.reporting.pages import Page
from tests.training.toys import loader, mlp, points


class NoNumber:
    """A pipeline whose metric is not defined on this data."""

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, float]:
        return {"inference_result": float("nan")}


def page_of(home: Path, data: Any, **settings: Any) -> tuple[Page, dict[str, Any]]:
    torch.manual_seed(0)
    models = {"teacher": mlp(9, hidden=16), "student": mlp(1)}
    kd.evaluation.evaluate(models, data, rounds=5, warm_up=1, **settings).save(home)
    html = write_report(home).read_text()
    page = Page(html)
    assert page.unbalanced == []
    return page, json.loads((home / "report.json").read_text())


def test_without_labels_the_page_says_so_and_shows_agreement(tmp_path: Path) -> None:
    """Otherwise a user without labels gets a crash, or a page of dashes without a reason."""
    inputs = DataLoader([inputs for inputs, _ in points()], batch_size=8)
    page, _ = page_of(tmp_path, inputs)
    assert "No labels came with the data" in page.text
    assert any(row[0] == "agreement with the teacher" and row[2].endswith("%") for row in page.cells)
    assert "Samples that got worse" not in page.text


def test_one_sample_makes_a_page(tmp_path: Path) -> None:
    """Otherwise a curve, a bin or a spread over one item divides by zero."""
    page, written = page_of(tmp_path, DataLoader(points(1), batch_size=1))
    assert "Measured on 1 item of validation" in page.text
    assert "calibration" in written["sections"]


def test_a_metric_that_is_no_number_is_named_and_left_open(tmp_path: Path) -> None:
    """Otherwise it reads as 0, or the page is not valid JSON."""
    page, written = page_of(tmp_path, loader(), pipeline=NoNumber())
    assert "student, quality, value: not a number, so left out." in page.text
    question = next(fact for fact in written["facts"] if fact["question"] == "How good is it?")
    assert question["answer"] == "not measured"


@pytest.mark.parametrize("kind", ["sequence", "regression"])
def test_other_tasks_make_a_page(kind: str, tmp_path: Path) -> None:
    """Otherwise only image classifiers have a report."""
    generator = torch.Generator().manual_seed(0)
    if kind == "regression":
        inputs, labels = torch.randn(24, 5, generator=generator), torch.randn(24, 3, generator=generator)
    else:
        inputs, labels = torch.randn(12, 4, 5, generator=generator), torch.randint(3, (12, 4), generator=generator)
    data = DataLoader(list(zip(inputs, labels, strict=True)), batch_size=6)
    page, written = page_of(tmp_path, data, task="regression" if kind == "regression" else "classification")
    assert written["facts"][0]["answer"] not in ("", "not measured")
    assert "The models side by side" in page.text
