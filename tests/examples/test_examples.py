"""Examples are the first code that a user changes; each must run as it stands, on real data, without a download."""

from __future__ import annotations

import re
from pathlib import Path

from tests.processes import run

ROOT = Path(__file__).parents[2]


def test_a_language_model_teaches_half_of_itself(tmp_path: Path) -> None:
    """Otherwise the way from text files to a smaller language model ends in a traceback."""
    done = run(ROOT / "examples" / "language_model.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    teacher, student = (float(score) for score in re.findall(r"perplexity ([\d.]+)", done.stdout))
    assert teacher < 512  # what guessing comes to
    assert student < 512


def test_a_classifier_of_texts_teaches_half_of_itself(tmp_path: Path) -> None:
    """Otherwise the way from labelled texts to a smaller encoder ends in a traceback, or learns nothing."""
    done = run(ROOT / "examples" / "text_classifier.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    scores = [float(score) for score in re.findall(r"(?:layers|them): ([\d.]+)", done.stdout)]
    assert len(scores) == 2
    assert min(scores) > 0.2  # guessing among eight comes to less


def test_the_originals_resnet_demo_teaches_its_student(tmp_path: Path) -> None:
    """Otherwise the original's own demo, the reason that many come, ends in a traceback or an untrained student."""
    done = run(ROOT / "examples" / "resnet_mnist.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    teacher = float(re.findall(r"teacher: ([\d.]+)", done.stdout)[0])
    scores = [float(score) for score in re.findall(r"test images :([\d.]+)", done.stdout)]
    assert teacher > 0.9
    assert len(scores) == 5  # once before training, then after each of the four epochs
    assert scores[-1] > 0.9
