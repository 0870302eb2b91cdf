"""MkDocs hooks: pages and tables out of the code, and the checks that keep the hand-written pages complete."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# the pages describe this tree, whatever else is installed
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from docs.generate import choosing, loss_pages, tables  # noqa: E402  (after the path is set)
from docs.generate.markdown import linked  # noqa: E402

COPIED = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages that are files of the repository's root."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give every loss its place in the navigation, by family."""
    families: list[Any] = ["losses/index.md"]
    for family, entries in loss_pages.by_family().items():
        if entries:
            families.append({loss_pages.FAMILIES[family]: [f"losses/{entry.name}.md" for entry in entries]})
    whole = {"Losses": families}
    config.nav = [whole if entry == {"Losses": "losses/index.md"} else entry for entry in config.nav or []]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, content in loss_pages.pages().items():
        files.append(File.generated(config, f"losses/{name}", content=content))
    for name, source in COPIED.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in tables; on "Choose a loss" check that none is missing and link their names.

    Raises:
        PluginError: if a loss is missing on that page, or a page asks for an unknown table.
    """
    if page.file.src_uri == "choose.md":
        wrong = choosing.faults(markdown)
        if wrong:
            raise PluginError("docs/choose.md: " + "; ".join(wrong))
        markdown = linked(markdown, {name: f"losses/{target}" for name, target in loss_pages.page_names().items()})
    try:
        return tables.filled(markdown)
    except KeyError as unknown:
        raise PluginError(f"{page.file.src_uri} asks for the generated table {unknown}, which does not exist") from None
