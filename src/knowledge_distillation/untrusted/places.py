"""Names in files, and links, that must not lead out of their folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import ConfigError


def within(folder: Path, name: Any) -> Path:
    """The file of a folder that a manifest names.

    Args:
        folder: where the manifest lies.
        name: what it says; a bare file name, without folders.

    Raises:
        ValueError: if the name is no bare one.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:\0"):
        raise ValueError(f"it names the file {str(name)[:200]!r}, and must name one in its own folder, without a path")
    return folder / name


def check_no_links_out(directory: Path, *, but: str = "") -> None:
    """Raise ConfigError if a link in a directory, at any depth, leads out of it.

    What is written into a directory from elsewhere would land where such a link points, and what is read be a file of
    this machine. The directory itself may be a link: who named it chose that.

    Args:
        directory: to look through; one that is not there has no links.
        but: a folder in it whose every file is looked at where it is read.
    """
    home = Path(os.path.realpath(directory))  # unlike resolve, it follows a circle of links to some end
    for folder, folders, files in os.walk(home):
        folders[:] = [name for name in folders if not but or Path(folder, name) != home / but]
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
                raise ConfigError(
                    f"{directory} must not lead elsewhere, and its {path.relative_to(home)} is a link to "
                    f"{os.readlink(path)}: files outside would be overwritten, or read as its own. Remove the link, or "
                    "put in its place what it points to."
                )
