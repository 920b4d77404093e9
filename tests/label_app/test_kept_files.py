"""What the label server keeps is whole or as it was: killed at any write, on a full disk, with leftovers beside."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.faults.children import FORK, answer_of, kill_at_every_write, on_a_small_disk
from tests.faults.test_disk import FULL
from tests.label_app.test_service import save_balls

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")

from amsam_monai.data.files import images
from amsam_monai.label_app.datastore import StudiesDatastore
from amsam_monai.label_app.kept_files import NEXT
from amsam_monai.label_app.saved_labels import value_names

pytestmark = [pytest.mark.label, pytest.mark.skipif(FORK is None, reason="needs fork")]

OLD = {"label_info": [{"name": "liver", "idx": 1}]}
NEW = {"label_info": [{"name": "spleen", "idx": 2}]}
OF_ONE = {"patient_id": "one"}
MANY = [{"name": f"class {index}", "idx": index} for index in range(1, 201)]


def opened(folder):
    return StudiesDatastore(str(folder), folder / ".copies", auto_reload=False)


def write_label(path, image, values):
    if path.suffix == ".nrrd":
        return images.write_label(path, values.astype(np.uint8), images.read_image(image))
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


def save(folder, ending="nii.gz"):
    opened(folder).save_label("p0", str(folder.parent / f"new.{ending}"), "final", dict(NEW))


def save_nrrd(folder):
    save(folder, "nrrd")


def add(folder):
    opened(folder).add_image("more", str(folder.parent / "more.nii.gz"), dict(OF_ONE))


def names(folder):
    """Labels' names as the store and as the list on the disk tell them, and the label's voxels by name."""
    store = opened(folder)
    listed = json.loads((folder / "datastore_v2.json").read_text(encoding="utf-8"))["objects"]["p0"]["labels"]["final"]
    told = store.get_label_info("p0", "final")["label_info"]
    assert listed["info"]["label_info"] == told
    values = np.unique(images.read_label(store.get_label_uri("p0", "final")).array)
    return told, [name for name in value_names({"label_info": told}).items() if name[0] in values]


@pytest.mark.parametrize("work", [save, save_nrrd, add])
def test_a_store_whose_server_is_killed_at_any_write_holds_whole_files_and_their_own_names(work, studies, tmp_path):
    deaths, saved, seen = 0, studies.parent / "saved", set()
    shutil.copytree(studies, saved)
    write_label(tmp_path / "new.nrrd", studies / "p0.nii.gz", np.full(nib.load(studies / "p0.nii.gz").shape, 2))
    for number in kill_at_every_write(studies, work, studies):
        told, there = names(studies)
        assert there == ([(1, "liver")] if told == OLD["label_info"] else [(2, "spleen")]), number
        seen.add(there[0])
        store = opened(studies)
        assert not (studies / NEXT).exists()
        assert len(list((studies / "labels" / "final").glob("p0.*"))) == 1, number
        assert set(store.list_images()) <= {"p0", "more"}, number
        if "more" in store.list_images():
            assert store.get_image_info("more").items() >= OF_ONE.items(), number
            assert (studies / "more.nii.gz").read_bytes() == (tmp_path / "more.nii.gz").read_bytes()
            seen.add("more")
        work(studies)
        shutil.rmtree(studies)
        shutil.copytree(saved, studies)
        deaths += 1
    assert deaths > 4
    assert seen == {(1, "liver"), "more" if work is add else (2, "spleen")}  # deaths before and after it was kept
    assert names(studies)[1] == [(1, "liver") if work is add else (2, "spleen")]
    assert ("more" in opened(studies).list_images()) == (work is add)


def test_a_list_that_waits_for_a_file_elsewhere_is_dropped(studies, tmp_path, caplog):
    (tmp_path / "victim").write_bytes(b"")
    content = json.loads((studies / "datastore_v2.json").read_text(encoding="utf-8"))
    waits = {"folder": "..", "name": "victim", "former": "old.nii.gz", "sha256": hashlib.sha256(b"").hexdigest()}
    for text in (json.dumps(content | {"objects": {}, "waits_for": waits}), "{", "[]", '{"waits_for": {}}'):
        (studies / NEXT).write_text(text, encoding="utf-8")
        assert opened(studies).list_images() == ["p0"]
        assert not (studies / NEXT).exists()
        assert f"{NEXT} is no list of a store" in caplog.text
        caplog.clear()
    assert (tmp_path / "old.nii.gz").exists()


def test_a_list_that_could_not_be_replaced_is_taken_before_the_next_one(studies, tmp_path, monkeypatch):
    """The folder of the list was shut after the label had its place."""
    store, replace = opened(studies), os.replace

    def shut(source, target):
        if Path(source).name == NEXT:
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", shut)
    with pytest.raises(PermissionError):
        store.save_label("p0", str(tmp_path / "new.nii.gz"), "final", dict(NEW))
    monkeypatch.undo()
    assert store.get_label_info("p0", "final")["label_info"] == NEW["label_info"]
    assert names(studies)[1] == [(2, "spleen")]
    store.update_label_info("p0", "final", {"seen": True})
    assert opened(studies).get_label_info("p0", "final")["seen"]


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
