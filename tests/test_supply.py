"""What the package stands on is pinned, and its licences are written down."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
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
