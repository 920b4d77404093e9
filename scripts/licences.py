"""Write docs/licences.md: the licence of every package that this one needs, as pip-licenses reads it.

python scripts/licences.py .venv/bin/python .venv-label/bin/python

Each argument is the Python of an environment in which the package is installed with some of its extras; pip-licenses
must be installed where this script runs. `make licences` does both.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "licences.md"
LONGEST = 60
HEAD = """# Licences of what this package needs

Written by `make licences` from what the packages say of themselves (pip-licenses); change nothing by hand. The package
itself is Apache-2.0. `core` is what the package needs, other words are its extras; `dev` is for tests alone.

"""
# Run by the Python of an environment: package -> extras of amsam-monai that bring it
GRAPH = """
import json, re
from importlib.metadata import PackageNotFoundError, distribution
from packaging.requirements import Requirement

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

def needed(name, extras):
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return
    for text in found.requires or ():
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras or ("",)):
            yield plain(one.name), tuple(sorted(one.extras))

def closure(extra):
    todo, seen = list(needed("amsam-monai", (extra,))), set()
    while todo:
        if (one := todo.pop()) not in seen:
            seen.add(one)
            todo += needed(*one)
    return {name for name, _ in seen}

core, own = closure(""), distribution("amsam-monai").metadata.get_all("Provides-Extra") or []
bring = {name: ["core"] for name in core}
for extra in own:
    for name in closure(extra) - core if extra != "all" else ():
        bring.setdefault(name, []).append(extra)
print(json.dumps(bring))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="+", help="the Python of an environment")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    rows: dict[str, tuple[str, str]] = {}
    brought: dict[str, set[str]] = {}
    for python in arguments.python:
        for name, extras in json.loads(answer([python, "-c", GRAPH])).items():
            brought.setdefault(name, set()).update(extras)
        listed = [sys.executable, "-m", "piplicenses", "--python", python, "--format", "json", "--from", "mixed"]
        for one in json.loads(answer(listed)):
            rows.setdefault(one["Name"].lower().replace("_", "-").replace(".", "-"), (one["Version"], one["License"]))
    arguments.out.write_text(page(rows, brought), encoding="utf-8")
    print(arguments.out)


def page(rows: dict[str, tuple[str, str]], brought: dict[str, set[str]]) -> str:
    """The page; packages of an environment that nothing of ours brings are left out."""
    shown = {name: rows[name] for name in sorted(rows) if name in brought}
    counts = Counter(short(licence) for _, licence in shown.values())
    lines = ["| licence | packages |", "|---|--:|", *(f"| {name} | {count} |" for name, count in counts.most_common())]
    lines += ["", "| package | version | licence | comes with |", "|---|---|---|---|"]
    for name, (version, licence) in shown.items():
        extras = "core" if "core" in brought[name] else ", ".join(sorted(brought[name]))
        lines.append(f"| {name} | {version} | {short(licence)} | {extras} |")
    return HEAD + "\n".join(lines) + "\n"


def short(licence: str) -> str:
    """One line of what a package says of its licence; some give all of its text."""
    line = next((line.strip() for line in licence.splitlines() if line.strip()), "UNKNOWN").replace("|", "or")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def answer(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
