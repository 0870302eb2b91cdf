"""What goes wrong for a user when a text file is more than plain data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.untrusted import json_of, text_of, yaml_of


def test_plain_data_is_read_as_it_stands(tmp_path: Path) -> None:
    """Otherwise no run, cache or recipe can be read."""
    file = tmp_path / "a.json"
    file.write_text('{"für": [1, 2.5, null]}', encoding="utf-8")
    assert json_of(file) == {"für": [1, 2.5, None]}
    assert yaml_of("für: [1, 2.5e0, null]\n1: {a: b}") == {"für": [1, 2.5, None], 1: {"a": "b"}}


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff", "utf-8"), (b"[" * 10**5, "nested too deeply"), (b"x" * 101, "larger than 100")]
)
def test_what_is_no_small_json_is_a_value_error(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a damaged file ends in as many kinds of traceback as there are ways to damage it."""
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        text_of(file, 100) if "larger" in message else json_of(file)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Otherwise the program hangs until somebody writes into it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no file"):
        text_of(tmp_path / "pipe")


def test_many_keys_are_looked_through_once() -> None:
    """Otherwise a recipe of a megabyte occupies the machine for hours."""

    class Key(int):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Key.compared += 1
            return int(self) == other

        __hash__ = int.__hash__

    from knowledge_distillation.untrusted import plain

    loader = plain._Loader("")
    keys = [Key(number) for number in range(2000)]
    loader.construct_object = lambda node, deep=False: node  # type: ignore[method-assign]
    node = type("Node", (), {"value": [(key, 0) for key in keys], "id": "pairs", "start_mark": None})
    with pytest.raises(Exception, match="expected a mapping node"):
        loader.construct_mapping(node)
    assert Key.compared < 20 * len(keys)


def test_a_key_twice_is_an_input_error_whatever_it_is() -> None:
    """Otherwise the second silently wins."""
    with pytest.raises(ConfigError, match=r"\['1'\] twice"):
        yaml_of("1: a\n1: b")


@pytest.mark.parametrize("number", [f"0b{'1' * 20_000}", f"0x{'f' * 5000}", "9" * 2000, f"-0b{'1' * 20_000}"])
def test_a_number_that_cannot_be_shown_is_refused(number: str) -> None:
    """Otherwise the message about it fails, and the user reads of digits and not of their recipe."""
    with pytest.raises(ConfigError, match=r"at most 4096 bits, and one has [\d,]+: "):
        yaml_of(f"epochs: {number}")
    assert yaml_of(f"epochs: {10**400}") == {"epochs": 10**400}
