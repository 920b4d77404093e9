"""What the package stands on is pinned, and its licences are written down."""

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from audit import told  # noqa: E402

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def plain(name):
    return re.sub("[-_.]+", "-", name).lower()


def names(requirements):
    return {plain(Requirement(one).name) for one in requirements} - {"amsam-monai"}


def extras(*chosen):
    return names(PROJECT["dependencies"]).union(*(names(PROJECT["optional-dependencies"][one]) for one in chosen))


def test_the_licence_of_everything_that_is_asked_for_is_written_down():
    """After a new dependency: make licences (which leaves out what Python itself brings)."""
    rows = re.findall(
        r"^\| ([a-z0-9-]+) \| \d\S* \| (.+) \| .+ \|$",
        (ROOT / "docs" / "licences.md").read_text(encoding="utf-8"),
        re.M,
    )
    written = dict(rows)
    assert extras(*PROJECT["optional-dependencies"]) - written.keys() <= {"setuptools"}
    agpl = {name for name, licence in written.items() if "affero" in licence.lower() or "AGPL" in licence}
    assert agpl == {"ultralytics", "ultralytics-thop", "ultralytics-platform"}


@pytest.mark.parametrize(
    ("file", "chosen"),
    [("constraints.txt", ("detector", "backbones", "annotate", "docs", "dev")), ("constraints-label.txt", ("label",))],
)
def test_whatever_is_asked_for_is_pinned(file, chosen):
    text = (ROOT / file).read_text(encoding="utf-8")
    pinned = {plain(name) for name in re.findall(r"^([\w.-]+)==", text, re.M)}
    missing = extras(*chosen) - pinned
    assert missing == set()


def test_an_audit_tells_what_is_known_and_what_it_could_not_look_up():
    """Names, versions and reasons as pip-audit writes them."""
    fine = {"name": "tqdm", "version": "4.70.1", "vulns": []}
    bad = {"name": "pillow", "version": "9.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.1"], "aliases": []}]}
    unknown = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.15.0)"}
    assert told([fine]) == (["1 of 1 looked up, 0 with advisories"], 0)
    lines, code = told([fine, bad, unknown])
    assert code == 1
    assert lines[:2] == ["2 of 3 looked up, 1 with advisories", "pillow 9.0: PYSEC-1, mended in 9.1"]
    assert lines[2].startswith("not looked up: torch (Dependency not found")
    assert told([fine, unknown])[1] == 2
