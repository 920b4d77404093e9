"""A hook of mkdocs: the model cards of bundles/ become the pages cards/NAME.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def on_files(files: Files, *, config: Any) -> Files:
    """Add a page for each bundle."""
    for card in sorted(BUNDLES.glob("*/docs/README.md")):
        name = card.parents[1].name
        files.append(File.generated(config, f"cards/{name}.md", abs_src_path=str(card)))
    return files
