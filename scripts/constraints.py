"""Compare the pinned versions with the newest ones that go together, or pin those.

python scripts/constraints.py            a table of what is behind; the exit code is 0
python scripts/constraints.py --write    writes constraints.txt and constraints-label.txt anew; run all tests then

Pinned are the packages that a file names already, and what pyproject.toml asks for. uv resolves; it must be installed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.11"
FILES = {
    "constraints.txt": ("detector", "backbones", "outlines", "annotate", "export", "scale", "docs", "dev"),
    "constraints-label.txt": ("label", "detector"),
}
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)$")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="pin the newest versions")
    arguments = parser.parse_args()
    for name, extras in FILES.items():
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pinned = pins(lines)
        newest = {one: version for one, version in resolved(extras).items() if one in pinned}
        behind = {one: version for one, version in newest.items() if version != pinned[one]}
        print(f"{name}: {len(behind)} of {len(pinned)} behind")
        for one, version in behind.items():
            print(f"  {one} {pinned[one]} -> {version}")
        for one in sorted(pinned.keys() - newest.keys()):
            print(f"  {one} {pinned[one]}: nothing needs it any more")
        if arguments.write:
            head = [line for line in lines if line.startswith("#")]
            text = "\n".join([*head, *(f"{one}=={newest[one]}" for one in pinned if one in newest)])
            (ROOT / name).write_text(text + "\n", encoding="utf-8")


def pins(lines: list[str]) -> dict[str, str]:
    """Version by name, in the order of the file."""
    return {found[1].lower(): found[2] for line in lines if (found := PIN.match(line.strip()))}


def resolved(extras: tuple[str, ...]) -> dict[str, str]:
    """The newest versions that go together."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.txt")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--upgrade", "--no-header", "--no-annotate"]
        command += ["--python-version", PYTHON, *(part for extra in extras for part in ("--extra", extra))]
        subprocess.run([*command, "--output-file", str(out), str(ROOT / "pyproject.toml")], check=True, cwd=ROOT)
        return pins(out.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
