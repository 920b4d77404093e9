"""Which inputs a run over a folder has: nothing that may be an image goes missing in silence."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from amsam_monai.segment.batch import BatchSegmenter, plan
from amsam_monai.segment.batch_report import write_report
from amsam_monai.segment.segmenter import Segmenter
from tests.data.dicom_files import without_mark, write_slice, write_stack
from tests.segment.toy import LABELS, Toy


def run(source, out, **options):
    """Inputs by name to (status, error), and the report's cases."""
    network = Segmenter(Toy(), LABELS, intensity={"mode": "min_max"})
    batch = BatchSegmenter(network, reading=options)
    with torch.no_grad():
        records = [batch(job) for job in plan(source, out)]
    cases = json.loads(write_report(records, out / "report.json").read_text(encoding="utf-8"))["cases"]
    return {str(case["input"].removeprefix(f"{source}/")): case for case in cases}


def test_a_patient_without_dicoms_mark_is_segmented_and_damage_is_listed(tmp_path):
    write_stack(tmp_path / "in" / "anna", 3)
    for path in write_stack(tmp_path / "in" / "bert", 3).iterdir():
        without_mark(path)
    for path in write_stack(tmp_path / "in" / "carl", 2).iterdir():
        path.write_bytes(path.read_bytes()[200:])  # neither mark nor a data set's beginning
    cases = run(tmp_path / "in", tmp_path / "out")
    assert {name: case["status"] for name, case in cases.items()} == {"anna": "done", "bert": "done", "carl": "failed"}
    assert "000.dcm: the file is damaged" in cases["carl"]["error"]


def test_images_of_other_programs_are_listed_as_failed_and_texts_are_not(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "a.png")
    for name, content in (("slide.svs", b"x"), ("IM0001", b"\0\1\2"), ("README", b"words"), ("notes.txt", b"words")):
        (folder / name).write_bytes(content)
    cases = run(folder, tmp_path / "out")
    assert {name: case["status"] for name, case in cases.items()} == {
        "a.png": "done",
        "IM0001": "failed",
        "slide.svs": "failed",
    }
    assert "unknown ending" in cases["slide.svs"]["error"]
    assert (tmp_path / "out" / "a.png").is_file()


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "labels"), ("images", "masks"), ("imagesTr", "labelsTr"), ("imagesTr", "labelsTs")],
)
def test_labels_beside_images_are_left_out(tmp_path, images, labels):
    for folder in (images, labels, f"{labels}/deeper"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "in" / folder / "a.png")
    (tmp_path / "in" / labels / "slide.svs").write_bytes(b"x")
    assert [job.source for job in plan(tmp_path / "in", tmp_path / "out")] == [tmp_path / "in" / images / "a.png"]
    assert len(plan(tmp_path / "in" / labels, tmp_path / "out")) == 3  # asked for by name
    (tmp_path / "in" / images).rename(tmp_path / "in" / "scans")
    assert len(plan(tmp_path / "in", tmp_path / "out")) == 4  # labels of nothing: a folder's name alone says little


def test_a_folder_of_results_alone_holds_nothing_to_segment(tmp_path):
    (tmp_path / "in" / "out").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "in" / "out" / "a.png")
    with pytest.raises(FileNotFoundError, match="holds no image, volume or DICOM series"):
        plan(tmp_path / "in", tmp_path / "in" / "out")


def test_radiographs_are_segmented_one_by_one_and_notes_reach_the_report(tmp_path):
    own = {"modality": "DX", "position": False, "PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.2]}
    for number in (1, 2):
        pixels = np.arange(48, dtype=np.uint16).reshape(8, 6)
        write_slice(tmp_path / "in" / "chest" / f"{number}.dcm", pixels, number=number, **own)
    cases = run(tmp_path / "in", tmp_path / "out")
    assert [case["output"] for case in cases.values()] == [str(tmp_path / "out" / f"chest/{n}.png") for n in (1, 2)]
    assert all("ImagerPixelSpacing" in case["notes"][0] for case in cases.values())
    assert all(set(found) == {"pixels"} for case in cases.values() for found in case["labels"].values())


def test_a_phase_is_chosen_for_a_run(tmp_path):
    for moment in (1, 2):
        for k in range(2):
            pixels = np.zeros((8, 6), np.uint16)
            pixels[moment, 2] = 100
            name = tmp_path / "in" / f"{moment}{k}.dcm"
            write_slice(name, pixels, z=5.0 * k, number=2 * moment + k, TriggerTime=40.0 * moment)
    assert "time series of 2 phases" in run(tmp_path / "in", tmp_path / "out")[str(tmp_path / "in")]["error"]
    case = run(tmp_path / "in", tmp_path / "out", phase=2)[str(tmp_path / "in")]
    assert (case["status"], case["notes"]) == ("done", ["a time series of 2 phases: number 2 by TriggerTime"])
