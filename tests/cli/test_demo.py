"""What goes wrong for a user when the demo's numbers are not what they seem. It trains seven small models once."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

from knowledge_distillation.domains.vision import digits, digits_cnn, image_mlp
from tests.processes import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """What `kd demo --quick --json` printed to both streams, and where it wrote."""
    home = tmp_path_factory.mktemp("demo") / "out"
    done = run("kd", "demo", "--quick", "--json", "--directory", home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr, home


Demo = tuple[dict[str, Any], str, Path]


def test_the_verdict_follows_from_the_printed_scores(demo: Demo) -> None:
    """Otherwise the demo claims more than it measured."""
    comparison = demo[0]["comparison"]
    taught, alone = comparison["with_teacher"], comparison["without_teacher"]
    assert len(taught) == len(alone) == len(comparison["seeds"]) == 3
    assert comparison["difference"] == pytest.approx(statistics.fmean(taught) - statistics.fmean(alone))
    interval = stats.ttest_rel(taught, alone).confidence_interval(0.95)
    assert (comparison["low"], comparison["high"]) == pytest.approx((interval.low, interval.high), rel=1e-5)
    expected = "helped" if interval.low > 0 else "hurt" if interval.high < 0 else "no evidence"
    assert comparison["verdict"] == expected


def test_the_scores_are_those_of_the_written_students_on_the_test_images(demo: Demo) -> None:
    """Otherwise the accuracy is not that of the models that were delivered."""
    result, _, home = demo
    images, labels = digits().validation["test"].dataset.tensors

    def accuracy(model: torch.nn.Module, name: str) -> float:
        model.load_state_dict(load_file(home / f"{name}.safetensors"))
        with torch.no_grad():
            return float((model.eval()(images).argmax(-1) == labels).float().mean())

    assert result["teacher_accuracy"] == pytest.approx(accuracy(digits_cnn(), "teacher/student"), abs=1e-6)
    assert result["comparison"]["with_teacher"][0] == pytest.approx(accuracy(image_mlp(), "student"), abs=1e-6)
    assert result["comparison"]["without_teacher"][0] == pytest.approx(accuracy(image_mlp(), "control"), abs=1e-6)


def test_a_teacher_of_all_labels_beats_the_student_of_few(demo: Demo) -> None:
    """Otherwise there is nothing to distil, and the demo shows a broken training."""
    result = demo[0]
    assert result["teacher_accuracy"] > 0.97
    assert result["comparison"]["difference"] > 0.02
    assert all(0.7 < score < result["teacher_accuracy"] for score in result["comparison"]["without_teacher"])
    assert (result["labelled"], result["images"]) == (100, 1297)


def test_the_costs_are_those_counted_by_hand(demo: Demo) -> None:
    """Otherwise the demo's 'smaller' is not true."""
    teacher, student = demo[0]["teacher_cost"], demo[0]["student_cost"]
    assert student["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert student["bytes"] == 4 * student["parameters"]
    weights = sum(parameter.numel() for parameter in digits_cnn().parameters())
    statistics_of_norms = 2 * (32 + 64 + 64)
    assert teacher["parameters"] == weights
    assert teacher["bytes"] == 4 * (weights + statistics_of_norms) + 3 * 8
    for cost in (teacher, student):
        assert 0 < cost["latency_ms"] <= cost["latency_p95_ms"]
    assert student["latency_ms"] < teacher["latency_ms"]


def test_what_is_printed_is_also_written(demo: Demo) -> None:
    """Otherwise the result is lost with the terminal."""
    result, _, home = demo
    stored = json.loads((home / "demo.json").read_text())
    assert {name: stored[name] for name in result} == result
    assert stored["environment"]["versions"]["torch"] == torch.__version__
    assert json.loads((home / "comparison.json").read_text())["with_teacher"] == result["comparison"]["with_teacher"]


def test_progress_counts_every_stage(demo: Demo) -> None:
    """Otherwise the user cannot tell a slow demo from one that hangs."""
    stages = [int(number) for number in re.findall(r"^\[?(\d+):", demo[1], flags=re.MULTILINE)]
    assert stages == list(range(1, 10))


def test_the_onnx_file_answers_as_the_student_does(demo: Demo) -> None:
    """Otherwise the demo's line about equality is about another file, or about no data."""
    result, _, home = demo
    images, _ = digits().validation["test"].dataset.tensors
    session = onnxruntime.InferenceSession(str(next((home / "exports" / "onnx").glob("*.onnx"))))
    (answers,) = session.run(None, {session.get_inputs()[0].name: images[:50].numpy()})
    student = image_mlp()
    student.load_state_dict(load_file(home / "student.safetensors"))
    with torch.no_grad():
        expected = student(images[:50])
    assert torch.allclose(torch.from_numpy(answers), expected, rtol=1e-4, atol=1e-4)
    assert result["export"]["equality"]["agreement"] == 1.0


def test_the_report_tells_the_verdict_and_every_model(demo: Demo) -> None:
    """Otherwise the page that the demo ends with lacks what the demo was for."""
    result, _, home = demo
    assert result["report"] == str(home / "report.html")
    told = (home / "report.md").read_text()
    assert {"teacher", "student", "control", "onnx"} <= set(re.findall(r"\w+", told))
    points = 100 * result["comparison"]["difference"]
    assert f"{points:.1f}" in told or f"{points:.2f}" in told


def test_the_doctor_looks_and_finds_no_fault(demo: Demo) -> None:
    """Otherwise the demo trains what the toolkit itself warns of, or nobody looked."""
    result, _, home = demo
    looked = json.loads((home / "doctor.json").read_text())
    assert len(looked["checks"]) > 20
    assert not [line for line in result["doctor"] if not line.startswith("note: ")]
