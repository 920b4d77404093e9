"""MONAI Label's door gives the masks of the command line, see `tests/doors.py`."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.doors import CASES, masks_of, prepared

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")
from tests.label_app.serving import serving

pytestmark = pytest.mark.label


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    return {system: prepared(system, tmp_path_factory.mktemp(system)) for system in CASES}


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    """A server of all bundles on the images of all."""
    root = tmp_path_factory.mktemp("doors")
    studies = root / "studies"
    studies.mkdir()
    for system, bundle in bundles.items():
        for path in masks_of(bundle):
            ending = "".join(path.suffixes)
            (studies / f"{image_id(system, path)}{ending}").write_bytes(path.read_bytes())
    with serving(root, studies, bundles.values(), "--device", "cpu") as server:
        yield server


def image_id(system, path):
    """The server's name of an image, which tells endings apart."""
    return f"{system}-{path.name.replace('.', '_')}"


@pytest.mark.parametrize("system", list(CASES))
def test_the_server_gives_the_masks_of_the_command_line(server, bundles, system, tmp_path):
    bundle = bundles[system]
    names = json.loads((bundle.parent / "cli" / "segment_report.json").read_text(encoding="utf-8"))["labels"]
    for path, mask in masks_of(bundle).items():
        answer = server.infer(bundle.name, image_id(system, path), "image")
        assert answer.status_code == 200, answer.text
        np.testing.assert_array_equal(array_of(answer, mask.ndim, tmp_path), mask, err_msg=path.name)
        said = server.infer(bundle.name, image_id(system, path), "json").json()["label_names"]
        assert set(said.values()) == set(np.unique(mask).tolist()) - {0}
        assert all(names[str(value)] == name for name, value in said.items())


def array_of(answer, dims, folder):
    """The label map in an answer."""
    path = folder / ("answer.png" if dims == 2 else "answer.nii.gz")
    path.write_bytes(answer.content)
    return np.asarray(Image.open(path) if dims == 2 else nib.load(path).dataobj)
