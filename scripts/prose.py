"""Hold the pages to the words of scripts/prose.yaml: README and docs, without their code and tables.

python scripts/prose.py [FILE ...]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CODE = re.compile(r"^( *)```.*?^\1```$|`[^`\n]*`|\]\([^)]*\)|^\|.*$|^ *!\[.*$", re.DOTALL | re.MULTILINE)
END = re.compile(r"(?<=[.:;?])\s+|\n\s*\n|\n\s*(?:[-*#:]|\d+\.)\s")


def faults(text: str, style: dict) -> list[tuple[int, str]]:
    """Lines of a page, and what is wrong with them."""
    plain = CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    found = []
    for pattern, instead in style["instead"].items():
        for match in re.finditer(pattern, plain, re.IGNORECASE):
            found.append((plain.count("\n", 0, match.start()) + 1, f"{match[0]!r}: {instead}"))
    start = 0
    for match in [*END.finditer(plain), None]:
        sentence = plain[start : match.start() if match else None]
        if len(sentence.split()) > style["words"]:
            line = plain.count("\n", 0, start + len(sentence) - len(sentence.lstrip())) + 1
            found.append((line, f"{len(sentence.split())} words in a sentence, at most {style['words']}"))
        start = match.end() if match else start
    return sorted(found)


def pages(style: dict) -> list[Path]:
    """README and docs, but for those that the style leaves out."""
    every = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in every if path.relative_to(ROOT).as_posix() not in style["except"]]


def main() -> int:
    style = yaml.safe_load((ROOT / "scripts" / "prose.yaml").read_text(encoding="utf-8"))
    count = 0
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else pages(style):
        for line, fault in faults(path.read_text(encoding="utf-8"), style):
            print(f"{path}:{line}: {fault}")
            count += 1
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
