"""What the label server does as it starts and ends, and what of a request goes to the process that trains."""

import asyncio
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")
from monailabel.config import settings
from monailabel.utils.async_tasks import utils
from starlette.routing import Match

from amsam_monai.label_app.endpoints import known_options
from amsam_monai.label_app.other_endpoints import nothing
from amsam_monai.label_app.server import app, with_an_end

pytestmark = pytest.mark.label


@asynccontextmanager
async def serves(seen):
    seen.append(Path(tempfile.gettempdir()))
    yield None


async def start_and_end(seen):
    async with with_an_end(serves)(seen):
        assert seen[0].is_dir()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("app", "studies", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(tmp_path / "app"))
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def test_a_training_ends_with_its_server_and_no_temporary_file_is_left(folders, monkeypatch):
    process = subprocess.Popen(["sleep", "1000"])
    monkeypatch.setitem(utils.background_tasks, "train", [{"id": "1", "status": "RUNNING"}])
    monkeypatch.setitem(utils.background_processes, "train", {"1": process})
    seen = []
    asyncio.run(start_and_end(seen))
    assert process.returncode == -9
    assert utils.background_tasks["train"][0]["status"] == "STOPPED"
    assert seen[0].parent == folders / "tmp"
    assert tempfile.gettempdir() == str(folders / "tmp")
    assert not [path for path in folders.rglob("*") if path.is_file() or path.parent == folders / "tmp"]


def test_of_a_request_for_a_training_its_options_alone_go_on():
    """They go into a command line, where 300 000 letters have no room."""
    kept = known_options({"max_epochs": "3", "note": "a" * 300_000, "model": "../x", "gpus": "0,1"})
    assert set(kept) == {"max_epochs", "steps_per_epoch", "pretrained", "val_split", "seed", "val_interval", "gpus"}
    assert (kept["max_epochs"], kept["gpus"], known_options({})["gpus"]) == (3, "0,1", "all")
    for gpus in ([0], "0;1", {"a": 1}):
        with pytest.raises(ValueError, match="gpus must be all or numbers such as 0,1"):
            known_options({"gpus": gpus})


@pytest.mark.parametrize("path", ["/batch/infer/x", "/scoring/", "/scoring/dice", "/reload", "/infer/wsi/x"])
def test_addresses_that_would_start_a_process_with_the_body_in_its_name_are_shut(path):
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    answers = next(route for route in app.router.routes if route.matches(scope)[0] is Match.FULL)
    assert answers.endpoint is nothing
