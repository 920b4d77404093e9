"""Programs of the environment that the wheel is installed in, run away from the repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def surroundings(**more):
    """The environment without what would lead back to the repository; the cache of weights stays as it is."""
    left = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AMSAM"))}
    weights = {name: os.environ[name] for name in ("AMSAM_WEIGHTS",) if name in os.environ}
    return {**left, **weights, **more}


@pytest.fixture
def run(tmp_path):
    """Run a program of the environment from an empty folder; `code` is how it must end. Gives all that it said."""

    def call(program, *arguments, code=0, **more):
        command = [str(BIN / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=surroundings(**more), capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr if code else done.stdout

    return call
