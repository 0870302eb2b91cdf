"""What goes wrong for a user when a name or a link in a stranger's folder leads out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.untrusted import check_no_links_out, within


def test_a_bare_name_is_a_file_of_the_folder(tmp_path: Path) -> None:
    """Otherwise no manifest can name anything."""
    for name in ("a", "0000-000001.safetensors", "..a", "ä b"):
        assert within(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "/a", "a/b", "a\\b", "C:a", "a\0", None, 3, ["a"]])
def test_any_other_name_is_refused(name: object, tmp_path: Path) -> None:
    """Otherwise a manifest reads any file of this machine."""
    with pytest.raises(ValueError, match="in its own folder"):
        within(tmp_path, name)


@pytest.mark.parametrize("target", ["../other", "/etc", "../homes", "inner/../../other"])
def test_a_link_that_leads_out_is_refused_at_any_depth(target: str, tmp_path: Path) -> None:
    """Otherwise a run from elsewhere overwrites files outside."""
    (tmp_path / "home" / "inner").mkdir(parents=True)
    (tmp_path / "home" / "inner" / "link").symlink_to(tmp_path / "home" / target)
    with pytest.raises(ConfigError, match=r"inner/link is a link to"):
        check_no_links_out(tmp_path / "home")


def test_a_folder_that_is_looked_at_apart_is_left_out(tmp_path: Path) -> None:
    """Otherwise a run with one odd sample has no report."""
    (tmp_path / "samples" / "a").mkdir(parents=True)
    (tmp_path / "samples" / "a" / "link").symlink_to("/etc")
    check_no_links_out(tmp_path, but="samples")
    (tmp_path / "a" / "samples").mkdir(parents=True)
    (tmp_path / "a" / "samples" / "link").symlink_to("/etc")
    with pytest.raises(ConfigError, match="a/samples/link"):
        check_no_links_out(tmp_path, but="samples")


def test_links_within_and_a_linked_home_are_taken(tmp_path: Path) -> None:
    """Otherwise a runs folder on another disk, or a link to the newest checkpoint, is refused."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_text("a")
    (tmp_path / "disk" / "newest").symlink_to("a")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    check_no_links_out(tmp_path / "home")
    check_no_links_out(tmp_path / "absent")


def test_a_link_in_a_circle_is_no_end(tmp_path: Path) -> None:
    """Otherwise looking never ends."""
    (tmp_path / "a").symlink_to(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path)
    check_no_links_out(tmp_path)
