"""What a command does not need, it does not import: help, lists and comparisons come without torch and MONAI."""

import json
import subprocess
import sys

import pytest

from amsam_monai.cli import COMMANDS

SLOW = {"torch", "monai", "ignite", "scipy", "nibabel", "SimpleITK", "pydicom", "matplotlib", "gradio", "ultralytics"}
RUN = """
import json, sys
from typer.testing import CliRunner
from amsam_monai.cli import app
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (arguments, result.output)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported(*commands):
    """Packages that are in memory once these commands ran, one after the other, in a process of their own."""
    done = subprocess.run([sys.executable, "-c", RUN, json.dumps(commands)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def summary(tmp_path):
    score = {"case": "a", "label": "lesion", "outcome": "scored", "values": {"dice": 0.5}}
    content = {"format": "amsam_monai scores, version 1", "protocol": "strict", "columns": ["dice"]}
    content |= {"labels": {"1": "lesion"}, "scores": [score]}
    (tmp_path / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    return str(tmp_path)


def test_help_and_lists_come_without_what_is_slow(summary):
    groups = [[name, "--help"] for name in COMMANDS]
    lists = [
        ["weights", "list"],
        ["cache", "info", "--dir", summary],
        ["compare", summary, summary],
        ["bundle", "list"],
    ]
    assert not imported(["--help"], *groups, *lists) & SLOW


def test_phantoms_and_prepare_come_without_torch_and_monai(tmp_path):
    data, out = str(tmp_path / "data"), str(tmp_path / "out")
    commands = [["demo-data", "isic", data, "--cases", "2", "--side", "48"], ["prepare", "isic", data, out]]
    assert not imported(*commands) & {"torch", "monai", "ignite"}


def test_a_command_that_needs_torch_is_seen_to_import_it():
    check = "import sys, amsam_monai.evaluation as e; print('torch' in sys.modules, e.Protocol, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    first, *_, last = done.stdout.split()
    assert (first, last) == ("False", "True")


def test_a_lazy_package_names_what_it_lacks():
    import amsam_monai.evaluation

    with pytest.raises(AttributeError, match=r"module 'amsam_monai\.evaluation' has no attribute 'Nothing'"):
        amsam_monai.evaluation.Nothing  # noqa: B018
