"""Links of the pages lead somewhere: to files that are there, and to headings that are in them."""

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import DOCS, PAGES, ROOT, name_of, prose

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
OUTSIDE = ("https://", "mailto:")


def anchors(page: Path) -> set[str]:
    """What headings of a page are called in an address, as GitHub and mkdocs have it."""
    heads = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", head).strip().lower() for head in heads)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head)) for head in plain}


def broken_links(page: Path) -> list[str]:
    """Links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))):
        target, _, anchor = link.partition("#")
        if link.startswith(OUTSIDE):
            continue
        path = (page.parent / target).resolve() if target else page
        if path.parent == DOCS / "cards":  # made of the bundles' model cards when the pages are built
            path = ROOT / "bundles" / path.stem / "docs" / "README.md"
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A head\n[a](gone.md) [b](#a-head) [c](#another) [d](https://example.org)\n", encoding="utf-8")
    assert broken_links(page) == ["gone.md", "#another"]


def test_every_page_is_in_the_menu_once():
    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        return [leaf for part in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(part)]

    menu = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    bundles = {path.name for path in (ROOT / "bundles").iterdir() if path.is_dir()}
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(menu) == sorted(pages | {f"cards/{name}.md" for name in bundles})


def test_every_picture_is_shown_somewhere():
    shown = "".join(path.read_text(encoding="utf-8") for path in [*PAGES, *ROOT.glob("scripts/benchmarks/log/*.md")])
    assert [path.name for path in sorted((DOCS / "images").iterdir()) if f"images/{path.name}" not in shown] == []


def test_contributing_tells_what_makes_each_picture():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = [line for line in text.split("## Pictures")[1].split("## ")[0].splitlines() if line.startswith("| `")]
    named, makers = zip(*(line.strip("| ").split(" | ") for line in lines), strict=True)
    pictures = [name for cell in named for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(pictures) == sorted(path.name for path in (DOCS / "images").iterdir())
    scripts = [script for cell in makers for script in re.findall(r"`(scripts/[^`]+)`", cell)]
    assert len(scripts) >= len(makers) - 1
    assert [script for script in scripts if not (ROOT / script).is_file()] == []
