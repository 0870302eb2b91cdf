"""Tests of the core that take a domain's data or models for real ones: without its folder they are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

DOMAINS = Path(__file__).parents[1] / "src" / "knowledge_distillation" / "domains"
WHOLE_FILES = {
    "vision": (
        "benchmarks/test_early_exit.py", "benchmarks/test_online_peers.py", "benchmarks/test_students.py",
        "benchmarks/test_vision_gpu.py", "cli/test_capture_command.py", "cli/test_demo.py", "doctor/test_findings.py",
        "doctor/test_planted.py", "domains/test_catalogue.py", "evaluation/test_figures.py", "export/test_int8.py",
        "export/test_quantisation_aware.py", "faults/test_faults.py", "objective/test_layers.py",
        "objective/test_methods.py", "objective/test_real_digits.py", "recipes/test_shipped.py",
        "teachers/cache/test_cached_teacher.py", "teachers/cache/test_damage.py", "teachers/cache/test_quality.py",
        "teachers/cache/test_replay.py", "teachers/cache/test_writing.py", "ways/test_data_free.py",
    ),
    "speech": ("contract/test_speech.py",),
}  # fmt: skip
"""Domain -> test files outside its own folder, below tests/, that are about nothing without it."""


def needs(domain: str) -> pytest.MarkDecorator:
    """The mark of a test, or of one of its cases, that needs a domain."""
    return pytest.mark.skipif(not (DOMAINS / domain).is_dir(), reason=f"domains/{domain} is not there")


def not_collected() -> list[str]:
    """The files whose domain is not there."""
    return [file for domain, files in WHOLE_FILES.items() if not (DOMAINS / domain).is_dir() for file in files]
