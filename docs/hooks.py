"""Pages that stand beside the code (ARCHITECTURE.md, …) are pages of the site, too."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

PAGES = {"ARCHITECTURE.md": "architecture.md", "CONTRIBUTING.md": "contributing.md"}
INCLUDED = {page: file for file, page in PAGES.items()}


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Point links at pages of the site; what is not one of them is named by its path."""
    here = page.file.src_uri
    folder = posixpath.dirname(posixpath.join("docs", here))
    if here in INCLUDED:
        folder = ""
        markdown = (Path(config.config_file_path).parent / INCLUDED[here]).read_text()

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in target:
            return match[0]
        file = posixpath.normpath(posixpath.join(folder, path))
        own = file.removeprefix("docs/") if file.startswith("docs/") else PAGES.get(file, "")
        if not own or files.get_file_from_path(own) is None:
            return text if text.startswith("`") else f"{text} (`{file}`)"
        relative = posixpath.relpath(own, posixpath.dirname(here) or ".")
        return f"[{text}]({relative}{'#' if anchor else ''}{anchor})"

    return re.sub(r"(?<!!)\[([^\]\[]+)\]\(([^)\s]+)\)", link, markdown)
