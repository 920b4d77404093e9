"""Both wheels installed away from the repository: every door opens, and nothing that is installed changes."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.wheel.conftest import BIN, surroundings

pytestmark = pytest.mark.wheel

HEART = "acdc_aisam_segmentation"


def bundles():
    """The folder of the installed bundles; sought when a test runs, since other environments list these tests too."""
    return Path(str(metadata.distribution("amsam-monai-bundles").locate_file("amsam_monai_bundles")))


def package():
    """The folder of the installed package."""
    return Path(str(metadata.distribution("amsam-monai").locate_file("amsam_monai")))


@pytest.fixture(scope="module", autouse=True)
def _nothing_installed_changes():
    before = installed()
    assert len(before) > 400
    yield
    assert installed() == before


def installed():
    """Size and time of every installed file of ours, but for what Python compiles."""
    files = [path for folder in (bundles(), package()) for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()}


@pytest.fixture
def mobile_sam():
    folder = Path(os.environ.get("AMSAM_WEIGHTS") or Path.home() / ".cache" / "amsam_monai" / "weights")
    if not (folder / "mobile_sam.pt").is_file():
        pytest.skip(f"MobileSAM is not in {folder}: amsam weights fetch mobile_sam")


@pytest.fixture(scope="module")
def heart(tmp_path_factory):
    """Three slices through the middle of a phantom heart, as `amsam demo-data` writes it."""
    folder = tmp_path_factory.mktemp("hearts")
    command = [str(BIN / "amsam"), "demo-data", "acdc", "data", "--cases", "1", "--side", "96"]
    subprocess.run(command, cwd=folder, env=surroundings(), check=True)
    whole = nibabel.load(next((folder / "data").rglob("patient001_frame01.nii.gz")))
    middle = whole.shape[2] // 2
    nibabel.save(whole.slicer[:, :, middle - 1 : middle + 2], folder / "heart.nii.gz")
    return folder / "heart.nii.gz"


@pytest.fixture
def scans(heart, tmp_path):
    """heart.nii.gz in the folder that programs run in, and alone in the folder `scans`."""
    (tmp_path / "scans").mkdir()
    shutil.copy(heart, tmp_path / "heart.nii.gz")
    shutil.copy(heart, tmp_path / "scans" / "heart.nii.gz")
    return tmp_path / "scans"


def test_the_bundles_are_listed_where_they_are_installed(run):
    said = run("amsam", "bundle", "list")
    assert f"  {HEART} 0.2.0, trained: {bundles().resolve() / HEART}\n" in said
    assert said.count(", trained: ") == 9
    assert run("amsam", "bundle", "path", HEART).strip() == str(bundles().resolve() / HEART)


def test_the_wheel_says_under_which_licences_it_is():
    said = metadata.metadata("amsam-monai-bundles")
    assert said["License-Expression"] == "Apache-2.0 AND AGPL-3.0-only"
    assert f"{HEART}/LICENSE" in said.get_all("License-File")
    assert "isic_amsam_segmentation/models/detector.LICENSE" in said.get_all("License-File")
    assert said["Version"] == metadata.version("amsam-monai")


@pytest.mark.usefixtures("mobile_sam", "scans")
def test_a_heart_is_segmented_the_same_by_the_command_and_by_the_bundles_own_config(run, tmp_path, heart):
    run("amsam", "segment", "heart.nii.gz", "out.nii.gz", "--bundle", HEART)
    mask = nibabel.load(tmp_path / "out.nii.gz")
    assert mask.shape == nibabel.load(heart).shape
    assert {2, 3} <= set(np.unique(mask.get_fdata())) <= {0, 1, 2, 3}
    config = f"{run('amsam', 'bundle', 'path', HEART).strip()}/configs/inference.yaml"
    run("python", "-m", "monai.bundle", "run", "--config_file", config, "--dataset_dir", "scans")
    results = sorted(path.relative_to(tmp_path) for path in (tmp_path / HEART).rglob("*.nii.gz"))
    assert results == [Path(HEART, "eval", "predictions", "heart.nii.gz")]
    np.testing.assert_array_equal(nibabel.load(tmp_path / results[0]).get_fdata(), mask.get_fdata())


def test_a_training_wants_a_copy(run, scans):
    config = bundles() / HEART / "configs" / "train.yaml"
    said = run("python", "-m", "monai.bundle", "run", "--config_file", config, "--dataset_dir", scans, code=1)
    assert "models: must not be among the installed bundles" in said
    assert "copy the bundle (cp -r) and run the copy" in said


@pytest.mark.usefixtures("mobile_sam", "scans")
def test_the_page_opens(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(BIN / "amsam"), "annotate", "heart.nii.gz", "--bundle", HEART, "--port", str(port)]
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=surroundings(), stdout=log, stderr=subprocess.STDOUT)
    try:
        while True:
            time.sleep(0.5)
            assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
            with contextlib.suppress(urllib.error.URLError, TimeoutError):
                assert b"gradio" in urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60).read()
                break
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def test_the_label_server_says_what_it_lacks(run, scans):
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("monailabel")
    said = run("amsam", "label", "start", scans, "--bundle", HEART, code=1)
    assert "monailabel must be installed to serve bundles" in said
    assert '.whl[label]"' in said
    assert [path.name for path in scans.iterdir()] == ["heart.nii.gz"]


@pytest.mark.usefixtures("scans")
def test_weights_of_others_are_fetched_when_they_are_asked_for(run, tmp_path):
    said = run("amsam", "segment", "heart.nii.gz", "out.nii.gz", "--bundle", HEART, code=1, AMSAM_WEIGHTS=str(tmp_path))
    assert "With a network: amsam weights fetch mobile_sam" in said


@pytest.mark.usefixtures("mobile_sam", "scans")
def test_a_bundle_whose_detector_wants_ultralytics_says_so(run):
    said = run("amsam", "segment", "heart.nii.gz", "out.nii.gz", "--bundle", "acdc_amsam_segmentation", code=1)
    assert "needs ultralytics (AGPL-3.0), which is not installed; pip install ultralytics" in said


@pytest.mark.usefixtures("scans")
def test_a_flipped_bit_in_an_installed_bundle_is_refused(run, tmp_path):
    model = bundles() / HEART / "models" / "model.pt"
    kept = model.rename(tmp_path / "model.pt")
    try:
        content = bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
        said = run("amsam", "segment", "heart.nii.gz", "out.nii.gz", "--bundle", HEART, code=1)
    finally:
        shutil.move(kept, model)
    assert f"{model} is damaged" in said
    assert "Install the bundles again: pip install --force-reinstall amsam_monai_bundles-" in said
