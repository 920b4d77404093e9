"""Look the pinned versions up in the advisories (pip-audit), and say how many could be looked up.

python scripts/audit.py                  constraints.txt and constraints-label.txt against PyPI's advisories
python scripts/audit.py --service osv    against OSV's

The exit code is 0 where all were looked up and nothing is known against them, 1 where something is known, and 2 where
some could not be looked up: behind a mirror that does not hand out advisories, say. pip-audit must be installed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FILES = ("constraints.txt", "constraints-label.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="whose advisories")
    arguments = parser.parse_args()
    code = 0
    for name in FILES:
        lines, found = told(audit(ROOT / name, arguments.service))
        print(f"{name}: {lines[0]}", *lines[1:], sep="\n  ")
        code = max(code, found)
    sys.exit(code)


def audit(path: Path, service: str) -> list[dict[str, Any]]:
    """What pip-audit says of each version in a file; without an answer, that none was looked up."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", service, "--format", "json", "--requirement", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return [{"name": "all", "skip_reason": reason[-1]}]
    return found


def told(found: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """Lines to print, the counts first, and an exit code."""
    known = [one for one in found if one.get("vulns")]
    skipped = [one for one in found if "skip_reason" in one]
    lines = [f"{len(found) - len(skipped)} of {len(found)} looked up, {len(known)} with advisories"]
    for one in known:
        for advisory in one["vulns"]:
            fixed = ", ".join(advisory.get("fix_versions", ())) or "no version"
            lines.append(f"{one['name']} {one['version']}: {advisory['id']}, mended in {fixed}")
    if skipped:
        names = ", ".join(one["name"] for one in skipped)
        lines.append(f"not looked up: {names} ({skipped[0]['skip_reason']})")
    return lines, 1 if known else 2 if skipped else 0


if __name__ == "__main__":
    main()
