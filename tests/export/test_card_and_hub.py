"""What goes wrong for a user whose model card says too little, or whose upload is not what was proven."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from knowledge_distillation.errors import ConfigError, ExportError, MissingExtraError
from knowledge_distillation.export import Exported, export, push
from tests.export.students import mlp, points

COMPARISON = {
    "verdict": "helped", "metric": "test", "seeds": [0, 1, 2], "difference": 0.0123, "low": 0.004, "high": 0.02,
}  # fmt: skip
EVALUATION = {"models": {"teacher": {"quality": {"metric": "accuracy", "value": 0.931}}, "student": {"quality": None}}}


class FakeHub:
    """Stands for the hub: keeps what was sent."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses, self.sent, self.asked, self.token = refuses, {}, {}, ""

    def __call__(self, token: str | None = None) -> FakeHub:
        self.token = token
        return self

    def create_repo(self, repo_id: str, **settings: Any) -> str:
        if self.refuses:
            raise RuntimeError(self.refuses)
        self.asked = {"repo_id": repo_id, **settings}
        return f"https://hub.example/{repo_id}"

    def upload_folder(self, *, folder_path: str, repo_id: str, commit_message: str) -> None:
        assert repo_id == self.asked["repo_id"]
        assert commit_message
        self.sent = {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}


@pytest.fixture
def weights(tmp_path: Path) -> Exported:
    facts = {
        "license": "apache-2.0", "data": "Fashion-MNIST", "teacher": "small_cnn", "language": "en", "tags": ["digits"],
        "text": "Not for medical use.", "evaluation": EVALUATION, "comparison": COMPARISON,
    }  # fmt: skip
    return export(mlp(), "safetensors", tmp_path / "out", example=points(4), card=facts)


def card(exported: Exported) -> tuple[dict[str, Any], str]:
    front, text = re.fullmatch(r"---\n(.*?)---\n(.*)", (exported.path / "README.md").read_text(), re.S).groups()
    return yaml.safe_load(front), text


def test_the_card_tells_what_a_stranger_must_know(weights: Exported) -> None:
    """Otherwise nobody may use the model, or knows what it was taught by and how good it is."""
    front, text = card(weights)
    assert front["license"] == "apache-2.0"
    assert front["language"] == "en"
    assert front["metrics"] == ["accuracy"]
    assert {"knowledge-distillation", "safetensors", "digits"} <= set(front["tags"])
    for wanted in (
        "| Data | Fashion-MNIST |", "| Teacher | small_cnn |",
        "Not for medical use.", "| accuracy | teacher | 0.9310 |",
        "3 seeds): helped, difference +0.0123, 95% interval +0.0040 to +0.0200", "| Parameters | 532 |",
        f"{weights.file.stat().st_size:,} bytes", 'load_model(student, "student.safetensors")',
    ):  # fmt: skip
        assert wanted in text


def test_the_card_of_a_file_shows_its_own_score(onnx_export: Exported) -> None:
    """Otherwise the student's score stands on the card of a file that scores less."""
    front, text = card(onnx_export)
    assert front["library_name"] == "onnx"
    assert "| accuracy | this file | 1.0000 |" in text
    assert "same highest class | 100.00%" in text


def test_a_card_without_facts_says_that_they_are_missing(tmp_path: Path) -> None:
    """Otherwise silence is read as permission."""
    _, text = card(export(mlp(), "safetensors", tmp_path / "out", example=points(4)))
    assert "| License | none was given; ask before you use it |" in text
    assert "| Teacher | not told |" in text
    assert "None was measured." in text


def test_the_hub_gets_what_was_proven_and_nothing_else(weights: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the run's data or another file goes public, or the repository does."""
    hub = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    assert push(weights.path, "me/tiny", token="secret-token") == "https://hub.example/me/tiny"
    assert hub.token == "secret-token"
    assert hub.asked == {"repo_id": "me/tiny", "private": True, "exist_ok": True}
    assert hub.sent == {
        name: (weights.path / name).read_bytes() for name in ("student.safetensors", "manifest.json", "README.md")
    }


def test_a_refusing_hub_does_not_print_the_token(weights: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a log file of a failed upload holds a key to the account."""
    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub(refuses="401 for secret-token"))
    with pytest.raises(ExportError, match=r"did not take .* as me/tiny: 401 for \*\*\*") as error:
        push(weights.path, "me/tiny", token="secret-token")
    assert error.value.__cause__ is None


def test_a_file_that_was_changed_is_not_pushed(weights: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the card's proof stands beside a file that it was not made for."""
    hub = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    weights.file.write_bytes(weights.file.read_bytes() + b"x")
    with pytest.raises(ExportError, match="not the file that was proven"):
        push(weights.path, "me/tiny")
    with pytest.raises(ConfigError, match="holds no export"):
        push(weights.path.parent, "me/tiny")
    assert hub.asked == {}


def test_a_missing_hub_package_names_its_extra(weights: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a user of the small installation reads an ImportError without a way out."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"\[hub\]"):
        push(weights.path, "me/tiny")
