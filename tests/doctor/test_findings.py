"""A finding says what is wrong with what numbers, what it would do, and how to mend it; the user needs all four."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.planted import FAULTS
from knowledge_distillation.doctor import Finding, diagnose


def found(name: str, folder: Path) -> Finding:
    (case,) = [case for case in FAULTS if case.name == name]
    return diagnose(**case.made(folder), checks=[case.check]).named(case.check)[0]


@pytest.mark.parametrize(
    ("case", "severity", "fault", "evidence", "fix"),
    [
        ("softmax over the batch", "error", r"over the batch \(dim=0\)", r"Sums over dim=0 are 1.*\(64, 10\)",
         "dim=-1"),
        ("probabilities for logits, pictures", "error", "teacher gives probabilities",
         r"likeliest of 10 classes has 0\.2",
         "before the softmax"),
        ("classes reversed, pictures", "error", "another order", r"Accuracy 0\.0\d\d .* 0\.9\d\d .*0 -> 9, 1 -> 8",
         "one list of classes"),
        ("classes shifted by one, texts", "error", "another order", r"shifted by 1|renamed", "map the labels"),
        ("inputs 255 times too large", "warning|error", "divided by 255", r"on 500 items \(range 0 to 255\)",
         "Preprocess as in the teacher's own training"),
        ("teacher divides by the temperature too", "error", "teacher softens its logits itself", "divided by 4;",
         "Leave the logits raw"),
        ("factor missing, notebook's KL", "warning", "lacks the factor 16", "KL divergence .* at temperature 4",
         r"temperature\*\*2"),
        ("labels not shifted", "error", "not shifted", "100% of the labels are the token at their own place",
         r"labels\[:, :-1\] = input_ids\[:, 1:\]"),
        ("labels from 1", "error", "outside the student's 10 classes, 0 to 9", "from 1 to 10", "subtract 1"),
        ("mask of ones, texts", "error", "all ones on padded data", r"\d+% of \d+ places are padding",
         "input_ids != pad_token_id"),
        ("vocabulary with padding rows", "error", "differ by padding", "Student 24 tokens, teacher 64",
         "Cut the wider"),
        ("validation drawn from all", "error", "are training samples", "200 of 200 have the same index", "Split"),
        ("a GPU that is not there", "error", "GPU", r"devices=64; \d+ found", "accelerator='auto'"),
        ("warm-up as long as the training", "error", "never reaches its value", r"warm_up_epochs=10 of max_epochs=10",
         "Shorten the warm-up"),
        ("no projector for other widths", "error", "has no projector", r"\(64, 4, 8, 8\), \(64, 16, 8, 8\)",
         "projector='auto'"),
        ("dead layer of the student", "warning", "'stem' is dead", "from 0 to 0", "dead activation"),
        ("learning rate too large, values", "warning|error", "learning_rate=5", r"Loss: 0\.\d+, ", "Divide"),
        ("shared layers", "error", "shares trainable parameters", r"\d parameters, such as stem\.0\.weight",
         "deepcopy"),
        ("float16 overflows inside the student", "warning|error", "float16", "65504", "bf16-mixed"),
        ("teacher forgotten", "error", "there is no teacher", "Terms: kd", "objective='labels'"),
    ],
)  # fmt: skip
def test_the_text_names_the_numbers(
    case: str, severity: str, fault: str, evidence: str, fix: str, tmp_path: Path
) -> None:
    """Otherwise the user is told that something is wrong, and cannot see what, or what to do."""
    finding = found(case, tmp_path)
    assert re.fullmatch(severity, finding.severity)
    assert re.search(fault, finding.fault), finding.fault
    assert re.search(evidence, finding.evidence), finding.evidence
    assert re.search(fix, finding.fix), finding.fix
    assert finding.harm.endswith(".")
    assert finding.check in str(finding)
