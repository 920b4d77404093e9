import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from amsam_monai.bundles.model_file import amend_model, write_model
from amsam_monai.bundles.network import SYSTEMS
from amsam_monai.cli import app
from amsam_monai.cli.segment_table import size_of, table_of
from amsam_monai.data.files.images import read_image, read_label
from amsam_monai.segment.batch_report import Record
from tests.data.dicom_files import write_stack
from tests.segment.conftest import write_series
from tests.segment.toy import toy_system

SETTINGS = {
    "system": "toy",
    "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
    "classes": ["bright", "right_of_bright", "below_bright"],
    "intensity": {"mode": "bit_depth"},
    "slices": {"batch_size": 3},
}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    root = tmp_path / "shelf" / "toy_segmentation"
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True)
    channels = {"0": "background", "1": "bright", "2": "right_of_bright", "3": "below_bright"}
    metadata = {"network_data_format": {"outputs": {"pred": {"channel_def": channels}}}}
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    (root / "configs" / "inference.yaml").write_text("settings: {}", encoding="utf-8")
    write_model(root / "models" / "model.pt", {}, SETTINGS)
    monkeypatch.setitem(SYSTEMS, "toy", toy_system)  # no file may name it
    monkeypatch.setenv("AMSAM_BUNDLES", str(root.parent))
    return root


@pytest.fixture
def study(tmp_path):
    """A folder of everything, some of it broken."""
    folder = tmp_path / "in put"
    (folder / "sub").mkdir(parents=True)
    voxels = np.zeros((6, 7, 4), np.int16)
    voxels[2, 3, 1] = 250
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 5.0, 1.0])), folder / "sub" / "heart ü.nii.gz")
    picture = np.zeros((9, 8, 3), np.uint8)
    picture[4, 4] = 255
    Image.fromarray(picture).save(folder / "a.png")
    Image.fromarray(picture[..., 0]).save(folder / "a.tif")
    with h5py.File(folder / "case1.npy.h5", "w") as file:
        file["image"] = np.zeros((3, 5, 6), np.uint8)
    Image.fromarray(picture).resize((80, 90), Image.Resampling.NEAREST).save(folder / "photo.jpg")
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(voxels.T)), folder / "sub" / "brain.nrrd")
    write_series(sitk.ReadImage(str(folder / "sub" / "brain.nrrd")), folder / "series")
    (folder / "cut series").mkdir()
    slice_ = next((folder / "series").iterdir())
    (folder / "cut series" / slice_.name).write_bytes(slice_.read_bytes()[:500])
    (folder / "empty.nii.gz").touch()
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:40])
    (folder / "notes.txt").write_text("not an image", encoding="utf-8")
    return folder


def run(*arguments):
    result = CliRunner().invoke(app, ["segment", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def test_a_folder_of_mixed_formats_gives_one_report_and_lists_failures(bundle, study, tmp_path):
    out = tmp_path / "out"
    code, printed = run(study, out, "--bundle", bundle, "--labels", "--probabilities", "--overlay")
    assert code == 1
    assert "7 segmented, 0 skipped, 3 failed" in printed
    assert "cut series:" in printed
    assert "empty.nii.gz: the file is empty" in printed
    assert "cut.png: cannot be read as picture" in printed
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    wanted = {"segment_report.json", "a_png.png", "a_tif.png", "case1.nii.gz", "sub/heart ü.nii.gz"}
    wanted |= {"photo.png", "sub/brain.nii.gz", "series.dcm"}
    for stem, mask, shares in (
        ("a_png", "png", "npz"),
        ("photo", "png", "npz"),
        ("series", "nii.gz", "nii.gz"),
        ("sub/brain", "nii.gz", "nii.gz"),
        ("sub/heart ü", "nii.gz", "nii.gz"),
    ):
        wanted |= {f"{stem}_{name}.{mask}" for name in ("bright", "right_of_bright", "below_bright")}
        wanted |= {f"{stem}_probabilities.{shares}", f"{stem}_overlay.png"}
    assert wanted <= files
    assert not [name for name in files if "partial" in name]
    label = read_label(out / "a_png.png").array
    assert label[4, 4] == 1
    assert label[4, 5] == 2
    assert label[5, 4] == 3
    assert (label > 0).sum() == 3
    assert read_label(out / "photo.png").array[45, 45] == 1
    assert read_label(out / "sub" / "brain.nii.gz").array[2, 3, 1] == 1
    seg = pydicom.dcmread(out / "series.dcm")
    assert (seg.Modality, seg.SegmentSequence[0].SegmentLabel) == ("SEG", "bright")
    report = json.loads((out / "segment_report.json").read_text(encoding="utf-8"))
    assert report["counts"] == {"done": 7, "skipped": 0, "failed": 3}
    heart = next(case for case in report["cases"] if "heart" in case["input"])
    assert heart["labels"]["bright"] == {"voxels": 1, "ml": 0.02}
    assert heart["spacing_mm"] == [2.0, 2.0, 5.0]
    dark = next(case for case in report["cases"] if "case1" in case["input"])
    assert dark["warnings"] == [
        "the mask is empty; values 0 to 255 became 0 to 1; check that the intensity suits the image"
    ]
    shares = read_image_4d(out / "sub" / "heart ü_probabilities.nii.gz")
    assert shares.shape == (6, 7, 4, 4)
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
    assert shares[2, 3, 1].argmax() == 1


def test_labels_beside_images_are_left_out_and_said(bundle, tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "data" / folder / "a.png")
    code, printed = run(tmp_path / "data", tmp_path / "out", "--bundle", bundle)
    assert code == 0
    assert "left out, since it holds labels of images: " in printed
    assert "1 segmented, 0 skipped, 0 failed" in printed
    assert [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")] == [Path("images/a.png")]


def test_what_is_beyond_the_limits_is_told(bundle, study, tmp_path):
    amend_model(bundle / "models" / "model.pt", limits={"classes": {"bright": {"slice_share": 0.001}}})
    out = tmp_path / "out"
    code, printed = run(study / "sub" / "heart ü.nii.gz", out, "--bundle", bundle)
    warning = "bright covers 2.38 % of slice 1, usual are 0.1 % or less"
    assert code == 0
    assert warning in printed
    (heart,) = json.loads((out / "segment_report.json").read_text(encoding="utf-8"))["cases"]
    assert heart["warnings"] == [warning]
    (bundle / "configs" / "inference.yaml").write_text("settings: {limits: null}", encoding="utf-8")
    run(study / "sub" / "heart ü.nii.gz", out, "--bundle", bundle)
    (heart,) = json.loads((out / "segment_report.json").read_text(encoding="utf-8"))["cases"]
    assert heart["warnings"] == []


def test_the_doubtful_come_first_where_the_model_is_calibrated(bundle, tmp_path):
    studies, out = tmp_path / "studies", tmp_path / "out"
    studies.mkdir()
    for name, bright in (("a", 255), ("b", 140)):
        voxels = np.zeros((9, 8, 4), np.int16)
        voxels[2:6, 2:5, 1:3] = 255
        voxels[..., 2] = voxels[..., 2] * (bright / 255)
        voxels[0, 0, 0] = 255
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 5.0, 1.0])), studies / f"{name}.nii")
    _, printed = run(studies, out, "--bundle", bundle)
    assert "class size" in printed
    assert not (out / "segment_report.csv").exists()
    _, printed = run(studies, tmp_path / "raw", "--bundle", bundle, "--quality")
    assert "class quality size" in printed
    first, second = (told_masks(folder) for folder in (out, tmp_path / "raw"))
    assert all((first[name] == second[name]).all() for name in ("a", "b"))
    part = {"count": 9, "base": 0.8, "labels": {"bright": 0.02}, "features": {"confidence": [0.4, 1.0]}}
    part |= {"usual": {}, "spread": 0.5, "absent": {"odds": 0.0, "mass": 0.0, "beside": 0.0}}
    amend_model(bundle / "models" / "model.pt", quality={"case": part, "slice": part})
    code, printed = run(studies, out, "--bundle", bundle, "--overlay")
    assert code == 0
    assert "±" in printed
    cases = json.loads((out / "segment_report.json").read_text(encoding="utf-8"))["cases"]
    worst = [min(one["case"][0] for one in case["quality"].values()) for case in cases]
    assert worst == sorted(worst)
    assert all(len(one["slices"]) == 4 for case in cases for one in case["quality"].values())
    page = (out / "segment_report.html").read_text(encoding="utf-8")
    names = [Path(case["input"]).stem for case in cases]
    assert page.index(f"{names[0]}_overlay.png") < page.index(f"{names[1]}_overlay.png")
    _, printed = run(studies, tmp_path / "none", "--bundle", bundle, "--no-quality")
    assert "class size" in printed


def told_masks(folder):
    return {name: read_label(folder / f"{name}.nii.gz").array for name in ("a", "b")}


def test_pictures_are_measured_in_pixels_and_never_in_none():
    assert size_of({"pixels": 7}) == "7 pixels"
    assert size_of({"pixels": 7, "mm2": 1.75}) == "1.75 mm²"
    assert size_of({"voxels": 7}) == "7 voxels"
    assert size_of({"voxels": 7, "ml": None}) == "7 voxels"  # in a report of an earlier version
    assert size_of({"voxels": 0, "ml": 0.0}) == "none"


def printed_at(width, records):
    console = Console(width=width, file=io.StringIO())
    console.print(table_of(records))
    return console.file.getvalue().splitlines()


def test_the_table_fits_80_columns_with_whole_numbers_and_marks_what_is_cut():
    labels = {name: {"voxels": 88_000, "ml": 120.31} for name in ("right ventricle", "myocardium", "left ventricle")}
    quality = {name: {"case": (0.61, 0.12), "slices": []} for name in labels}
    name = "patient001_frame01_a_very_long_name_of_a_file_[2].nii.gz"
    records = [Record(f"in/{name}", "done", seconds=123.4, labels=labels, quality=quality), Record("b", "failed")]
    lines = printed_at(80, records)
    assert max(map(len, lines)) <= 80
    assert sum("0.61 ± 0.12  120.31 ml" in line for line in lines) == 3
    assert "patient001_" in lines[1]
    assert "…" in lines[1]
    assert name in printed_at(300, records)[1]


def test_of_many_classes_the_table_shows_the_doubtful():
    labels = {f"organ {number}": {"voxels": 5} for number in range(9)}
    quality = {name: {"case": (1 - number / 10, 0.1), "slices": []} for number, name in enumerate(labels)}
    lines = printed_at(80, [Record("a.nii", "done", seconds=1.0, labels=labels, quality=quality)])
    assert "organ 8" in lines[1]
    assert [line.split()[:2] for line in lines[2:]] == [["organ", "7"], ["organ", "6"], ["organ", "5"], ["5", "more"]]


def test_an_error_of_any_kind_costs_only_its_file(bundle, study, tmp_path, monkeypatch):
    import amsam_monai.segment.batch as batch

    def read(path):
        if path.name == "a.png":
            raise AttributeError("a library's own mistake")
        return read_image(path)

    monkeypatch.setattr(batch, "read_image", read)
    _, printed = run(study, tmp_path / "out", "--bundle", bundle)
    assert "6 segmented, 0 skipped, 4 failed" in printed
    assert "a.png: AttributeError: a library's own mistake" in printed
    assert not list((tmp_path / "out").glob("a_png*"))


def read_image_4d(path):
    return np.asarray(nib.load(path).dataobj)


def test_resume_passes_over_what_is_whole(bundle, study, tmp_path):
    out = tmp_path / "out"
    run(study, out, "--bundle", bundle)
    (out / "case1.nii.gz").unlink()
    before = (out / "a_png.png").stat().st_mtime_ns
    code, printed = run(study, out, "--bundle", "toy_segmentation", "--resume")
    assert code == 1
    assert "1 segmented, 6 skipped, 3 failed" in printed
    assert (out / "a_png.png").stat().st_mtime_ns == before
    cases = json.loads((out / "segment_report.json").read_text(encoding="utf-8"))["cases"]
    assert all(case["labels"] for case in cases if case["status"] == "skipped")
    _, printed = run(study, out, "--bundle", bundle, "--resume", "--overlay")
    assert "7 segmented, 0 skipped" in printed  # the overlays were not there


KILLED = """  # dies where the third label map, written in full, would take its name
import os, signal, sys
from amsam_monai.bundles.network import SYSTEMS
from amsam_monai.cli import app
from tests.segment.toy import toy_system
SYSTEMS["toy"] = toy_system
named, replace = [], os.replace

def replace_or_die(source, target):
    named.append(str(target).endswith(".nii.gz"))
    if sum(named) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = replace_or_die
app(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_written_and_goes_on(bundle, tmp_path):
    source, out = tmp_path / "many", tmp_path / "out"
    source.mkdir()
    voxels = np.random.default_rng(0).integers(0, 250, (20, 20, 6)).astype(np.int16)
    for number in range(8):
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), source / f"{number}.nii.gz")
    path = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", KILLED, "segment", str(source), str(out), "--bundle", str(bundle)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL
    whole = sorted(out.glob("[0-9].nii.gz"))
    assert len(whole) == 2
    assert all(read_label(path).array.shape == voxels.shape for path in whole)
    code, printed = run(source, out, "--bundle", bundle, "--resume")
    assert code == 0
    assert f"{8 - len(whole)} segmented, {len(whole)} skipped, 0 failed" in printed


def test_one_file_goes_to_the_name_and_format_that_were_asked_for(bundle, study, tmp_path):
    code, _ = run(study / "sub" / "heart ü.nii.gz", tmp_path / "out" / "h.nrrd", "--bundle", bundle)
    assert code == 0
    assert read_label(tmp_path / "out" / "h.nrrd").array[2, 3, 1] == 1
    assert (tmp_path / "out" / "segment_report.json").is_file()


def test_one_file_goes_into_a_folder_under_its_own_name(bundle, study, tmp_path):
    assert run(study / "a.png", tmp_path / "there", "--bundle", bundle)[0] == 0
    assert (tmp_path / "there" / "a.png").is_file()


def test_an_image_is_never_overwritten_by_its_label(bundle, study):
    before = (study / "a.png").read_bytes()
    code, printed = run(study / "a.png", study, "--bundle", bundle)
    assert code == 1
    assert "would overwrite its image" in printed
    assert (study / "a.png").read_bytes() == before
    code, printed = run(study, study, "--bundle", bundle)
    assert code == 1
    assert "must not be the input folder" in printed


def test_results_inside_the_input_folder_are_no_inputs(bundle, study):
    run(study, study / "out", "--bundle", bundle)
    (study / "out" / "series.dcm").write_bytes(bytes(128) + b"DICM")  # makes it look like a series
    _, printed = run(study, study / "out", "--bundle", bundle)
    assert "7 segmented, 0 skipped, 3 failed" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.nii.gz", "out"), "no such file"),
        (("{study}/a.png", "out.jpg"), "the ending must be one of"),
        (("{study}/sub", "out", "--axis", "diagonal"), "axis must be"),
        (("{study}/sub", "out", "--intensity", "magic"), "intensity mode must be one of"),
    ],
)
def test_a_mistake_is_one_clear_line(bundle, study, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, printed = run(*[str(part).format(study=study) for part in arguments], "--bundle", bundle)
    assert code == 1
    assert message in printed
    assert "Traceback" not in printed


def test_an_untrained_bundle_says_how_to_train_it(bundle, study, tmp_path):
    (bundle / "models" / "model.pt").unlink()
    code, printed = run(study, tmp_path / "out", "--bundle", bundle)
    assert code == 1
    assert "is not trained yet" in printed


def test_a_bundle_that_is_nowhere_is_named(study, tmp_path):
    code, printed = run(study, tmp_path / "out", "--bundle", "nowhere_segmentation")
    assert code == 1
    assert "nowhere_segmentation" in printed


def test_options_replace_the_bundles_settings(bundle, study, tmp_path):
    """Percentiles of an all-dark slice are one value, so per slice only the bright slice has a mask, as per volume."""
    code, _ = run(
        *(study / "sub", tmp_path / "out", "--bundle", bundle, "--intensity", "min_max", "--per-slice"),
        *("--axis", "coronal", "--batch-size", 1, "--flips", "--largest-component", "--device", "cpu"),
    )
    assert code == 0
    assert read_image(tmp_path / "out" / "heart ü.nii.gz").array[2, 3, 1] == 1


def test_maps_hold_the_values_that_are_asked_for(bundle, study, tmp_path):
    classes = {"bright": 6, "right_of_bright": 300, "below_bright": 7}
    write_model(bundle / "models" / "model.pt", {}, {**SETTINGS, "classes": classes})
    for values, bright in (("own", 6), ("index", 1)):
        out = tmp_path / f"{values}.nii.gz"
        assert run(study / "sub" / "heart ü.nii.gz", out, "--bundle", bundle, "--label-values", values)[0] == 0
        assert read_label(out).array[2, 3, 1] == bright
    code, printed = run(study / "sub", tmp_path / "out", "--bundle", bundle, "--label-values", "mine")
    assert code == 1
    assert "label_values must be one of" in printed


def test_frames_become_masks_and_two_films(bundle, tmp_path):
    pytest.importorskip("cv2")
    for number in (1, 2, 10):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[4:9, 4] = 255
        (tmp_path / "clips" / "case 1").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "clips" / "case 1" / f"f{number}.png")
    done = CliRunner().invoke(
        app, ["segment", str(tmp_path / "clips"), str(tmp_path / "out"), "--bundle", bundle.name, "--frames"]
    )
    assert done.exit_code == 0, done.output
    assert "3 frames of 1 clips segmented" in done.output
    assert sorted(path.name for path in (tmp_path / "out" / "case 1").iterdir()) == [
        "f1.png",
        "f10.png",
        "f2.png",
        "mask.mp4",
        "overlay.mp4",
    ]
    refused = CliRunner().invoke(
        app, ["segment", str(tmp_path / "clips"), str(tmp_path / "o"), "--bundle", bundle.name, "--frames", "--labels"]
    )
    assert refused.exit_code == 1


def test_masks_of_clips_are_scored_frame_by_frame_beside_their_films(bundle, tmp_path):
    pytest.importorskip("cv2")
    for clip, number in (("case 1", 1), ("case 1", 2), ("case 2", 1)):
        for kind in ("Frame", "GT"):
            (tmp_path / kind / clip).mkdir(parents=True, exist_ok=True)
        picture, truth = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)
        picture[4:9, 4] = 255
        truth[4 : 9 if clip == "case 1" else 7, 4] = 1
        Image.fromarray(picture).save(tmp_path / "Frame" / clip / f"f{number}.png")
        Image.fromarray(truth).save(tmp_path / "GT" / clip / f"f{number}.png")
    frames, out, scores = str(tmp_path / "Frame"), str(tmp_path / "out"), tmp_path / "scores"
    assert CliRunner().invoke(app, ["segment", frames, out, "--bundle", bundle.name, "--frames"]).exit_code == 0
    names = "1=bright,2=right,3=below"
    command = ["evaluate", out, str(tmp_path / "GT"), "--labels", names, "--out", str(scores), "--sod"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    rows = (scores / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == {"case 1/f1", "case 1/f2", "case 2/f1"}
    assert "weighted_f" in rows[0]


def test_a_bundle_without_a_light_form_says_so(bundle, study, tmp_path):
    command = ["segment", str(study / "a.png"), str(tmp_path / "out"), "--bundle", bundle.name, "--light"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1
    assert "arguments.light must be None" in refused.output


def test_a_series_and_a_limit_are_chosen_on_the_command_line(bundle, tmp_path):
    write_stack(tmp_path / "ct", 3, base=0)
    write_stack(tmp_path / "ct", 2, start=10, base=0, series="1.2.3.9")
    code, printed = run(tmp_path / "ct", tmp_path / "a.nii.gz", "--bundle", bundle)
    assert code == 1
    assert "choose one with --series" in printed
    code, _ = run(tmp_path / "ct", tmp_path / "a.nii.gz", "--bundle", bundle, "--series", "1.2.3.9")
    assert code == 0
    assert read_label(tmp_path / "a.nii.gz").array.shape == (6, 8, 2)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "b.png")
    code, printed = run(tmp_path / "b.png", tmp_path / "c.png", "--bundle", bundle, "--max-pixels", 70)
    assert (code, "give --max-pixels 72" in printed) == (1, True)


def test_objects_are_numbered_in_files_beside_the_mask(bundle, tmp_path):
    pytest.importorskip("pycocotools")
    (tmp_path / "cells").mkdir()
    picture = np.zeros((20, 30), np.uint8)
    picture[2:6, 3:10], picture[12:15, 20:22] = 255, 255
    for name in ("a", "b"):
        Image.fromarray(picture).save(tmp_path / "cells" / f"{name}.png")
    asked = (tmp_path / "cells", tmp_path / "out", "--bundle", bundle.name, "--instances", "--coco")
    code, output = run(*asked)
    assert code == 0, output
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"a.png", "a_instances.png", "a_instances.csv", "b_instances.csv", "instances.coco.json"} <= written
    coco = json.loads((tmp_path / "out" / "instances.coco.json").read_text(encoding="utf-8"))
    assert [image["file_name"] for image in coco["images"]] == ["a.png", "b.png"]
    assert sum(one["category_id"] == 1 for one in coco["annotations"]) == 4
    code, output = run(*asked, "--resume")
    assert (code, "2 skipped" in output) == (0, True)
    assert json.loads((tmp_path / "out" / "instances.coco.json").read_text(encoding="utf-8")) == coco
    (tmp_path / "out" / "a_instances.csv").unlink()
    assert "1 segmented, 1 skipped" in run(*asked, "--resume")[1]


def test_coco_needs_objects(bundle, study, tmp_path):
    code, output = run(study / "a.png", tmp_path / "out", "--bundle", bundle.name, "--coco")
    assert code == 1
    assert "--coco must come with --instances" in output
