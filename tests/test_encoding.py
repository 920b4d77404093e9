"""Text files are UTF-8 whatever the machine's locale says."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [path for room in ("amsam_monai", "scripts", "tests") for path in sorted((ROOT / room).rglob("*.py"))]


def lines_without_encoding(source: str) -> list[int]:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    text = [call for call in calls if getattr(call.func, "attr", "") in ("read_text", "write_text")]
    return [call.lineno for call in text if "encoding" not in [word.arg for word in call.keywords]]


def test_a_call_without_encoding_is_found():
    assert lines_without_encoding('a.read_text()\nb.write_text(x, encoding="utf-8")\nc.write_text(x)') == [1, 3]


def test_text_is_read_and_written_as_utf8():
    lines = {str(path.relative_to(ROOT)): lines_without_encoding(path.read_text(encoding="utf-8")) for path in FILES}
    assert len(lines) > 500
    assert {path: found for path, found in lines.items() if found} == {}
