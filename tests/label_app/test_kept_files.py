"""What the label server keeps is whole or as it was: killed at any write, on a full disk, with leftovers beside."""

import contextlib
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from tests.faults.children import FORK, answer_of, kill_at_every_write, on_a_small_disk
from tests.faults.test_disk import FULL
from tests.label_app.test_service import save_balls

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")

from amsam_monai.label_app.datastore import StudiesDatastore

pytestmark = [pytest.mark.label, pytest.mark.skipif(FORK is None, reason="needs fork")]

OLD = {"label_info": [{"name": "liver", "idx": 1}]}
NEW = {"label_info": [{"name": "spleen", "idx": 2}]}
MANY = [{"name": f"class {index}", "idx": index} for index in range(1, 201)]


def opened(folder):
    return StudiesDatastore(str(folder), folder / ".copies", auto_reload=False)


def write_label(path, image, values):
    nib.save(nib.Nifti1Image(values.astype(np.uint8), nib.load(image).affine), path)
    return path


@pytest.fixture
def studies(tmp_path):
    """A study with a label, another label, and another image."""
    folder = save_balls(tmp_path, 1)
    image = folder / "p0.nii.gz"
    shutil.copy(image, tmp_path / "more.nii.gz")
    shape = nib.load(image).shape
    write_label(tmp_path / "old.nii.gz", image, np.ones(shape))
    write_label(tmp_path / "new.nii.gz", image, 2 * np.random.default_rng(0).integers(0, 2, shape))
    opened(folder).save_label("p0", str(tmp_path / "old.nii.gz"), "final", dict(OLD))
    return folder


def save(folder):
    opened(folder).save_label("p0", str(folder.parent / "new.nii.gz"), "final", dict(NEW))


def add(folder):
    opened(folder).add_image("more", str(folder.parent / "more.nii.gz"), {})


@pytest.mark.parametrize("work", [save, add])
def test_a_store_whose_server_is_killed_at_any_write_holds_whole_files_alone(work, studies, tmp_path):
    deaths, saved = 0, studies.parent / "saved"
    shutil.copytree(studies, saved)
    old, new, more = ((tmp_path / f"{name}.nii.gz").read_bytes() for name in ("old", "new", "more"))
    for number in kill_at_every_write(studies, work, studies):
        assert (studies / "labels" / "final" / "p0.nii.gz").read_bytes() in (old, new), number
        store = opened(studies)
        assert set(store.list_images()) <= {"p0", "more"}, number
        if (studies / "more.nii.gz").exists():
            assert (studies / "more.nii.gz").read_bytes() == more
        assert store.get_label_info("p0", "final")["label_info"] in (OLD["label_info"], NEW["label_info"])
        work(studies)
        shutil.rmtree(studies)
        shutil.copytree(saved, studies)
        deaths += 1
    assert deaths > 3
    assert opened(studies).get_label_info("p0", "final")["label_info"] == (NEW if work is save else OLD)["label_info"]
    assert ("more" in opened(studies).list_images()) == (work is add)


def keep_on_a_full_disk(folder, studies, big, kind):
    """Copy the studies onto a disk of its own, fill that, and keep a file there; gives what came of it."""
    shutil.copytree(studies, folder, dirs_exist_ok=True)
    store, error = opened(folder), ""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(512))
    try:
        if kind == "label":
            store.save_label("p0", str(big), "final", {"label_info": MANY})
        else:
            store.add_image("more", str(big), {})
    except OSError as caught:
        error = str(caught)
    listed = json.loads((folder / "datastore_v2.json").read_text(encoding="utf-8"))["objects"]
    hidden = [path.name for path in folder.rglob(".partial*")]
    return error, (folder / "labels" / "final" / "p0.nii.gz").read_bytes(), sorted(listed), hidden


@pytest.mark.parametrize("kind", ["label", "image"])
def test_what_has_no_room_is_named_and_what_was_there_stays(kind, studies, tmp_path):
    noise = np.random.default_rng(0).integers(0, len(MANY), nib.load(studies / "p0.nii.gz").shape)
    big = write_label(tmp_path / "big.nii.gz", studies / "p0.nii.gz", noise)
    (tmp_path / "disk").mkdir()
    work = keep_on_a_full_disk, tmp_path / "disk", studies, big, kind
    error, label, listed, hidden = answer_of(on_a_small_disk, 2**18, tmp_path / "disk", *work)
    assert re.search(FULL + r"(p0|more)\.nii\.gz", error), error
    assert label == (tmp_path / "old.nii.gz").read_bytes()
    assert (listed, hidden) == (["p0"], [])


def test_half_written_files_are_no_studies(studies):
    for place in (studies, studies / "labels" / "final"):
        shutil.copy(studies / "p0.nii.gz", place / ".partial-1-1-x.nii.gz")
    store = opened(studies)
    assert store.list_images() == ["p0"]
    assert list(store.json()["objects"]["p0"]["labels"]) == ["final"]
