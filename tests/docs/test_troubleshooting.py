"""The messages that docs/troubleshooting.md quotes are messages of the package."""

import ast
import re

from tests.docs.pages import DOCS, ROOT


def texts() -> str:
    """All string literals of the package."""
    found = []
    for path in sorted((ROOT / "amsam_monai").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_quoted_messages_are_there():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert len(rows) >= 6
    said = texts()
    assert [row for row in rows if row not in said] == []
