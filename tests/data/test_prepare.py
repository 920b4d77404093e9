import json
from pathlib import Path

import numpy as np
import pytest
from monai.data import load_decathlon_datalist
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.cli.prepare import app
from amsam_monai.data.datasets import DatasetError, read_case
from amsam_monai.data.files.images import read_image
from amsam_monai.data.files.load import LoadFiled
from amsam_monai.data.prepare.contact_sheet import draw_outlines, make_tile, telling_slice, upright
from amsam_monai.data.prepare.prepare import find_dataset, prepare
from amsam_monai.phantoms.sets import write_phantoms
from tests.data.tiny_sets import acdc_patient, isic_pair, labels, mask, picture, synapse_case, volume


def test_a_prepared_set_loads_through_monai_with_class_indices(tmp_path):
    isic_pair(tmp_path / "src")
    prepare("isic", tmp_path / "src", tmp_path / "out")
    items = load_decathlon_datalist(tmp_path / "out" / "dataset.json", True, "training")
    sample = LoadFiled(["image", "label"])(items[0])
    assert sample["image"].shape == (3, 12, 16)
    assert sample["label"].unique().tolist() == [0, 1]
    assert items[0]["case_id"] == "ISIC_0000001"


def test_dataset_json_speaks_the_decathlon_s_language(tmp_path):
    for patient in ("patient001", "patient019", "patient002"):
        acdc_patient(tmp_path / "src", patient)
    prepare("acdc", tmp_path / "src", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"] == {"0": "background", "1": "RV", "2": "Myo", "3": "LV"}
    assert (content["numTraining"], content["numValidation"], content["numTest"]) == (2, 2, 2)
    assert content["tensorImageSize"] == "3D"
    assert content["modality"] == {"0": "MRI"}
    image = content["training"][0]["image"]
    assert not Path(image).is_absolute()
    assert (tmp_path / "out" / image).is_file()


def test_paths_may_be_absolute(tmp_path):
    acdc_patient(tmp_path / "src", "patient001")
    prepare("acdc", tmp_path / "src", tmp_path / "out", absolute=True)
    content = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert Path(content["training"][0]["label"]).is_absolute()


def test_cases_of_no_section_are_kept_apart_from_those_that_have_one(tmp_path):
    acdc_patient(tmp_path / "src", "patient001")
    acdc_patient(tmp_path / "src", "patient131")
    prepare("acdc", tmp_path / "src", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert [item["patient_id"] for item in content["unassigned"]] == ["patient131", "patient131"]


def test_the_report_counts_measures_and_mends(tmp_path):
    src = tmp_path / "src"
    picture(src / "images" / "1.png", 24, 32)
    mask(src / "labels" / "1.png", 12, 16)
    picture(src / "images" / "2.png")
    mask(src / "labels" / "2.png", value=0)
    report = prepare("human", src, tmp_path / "out").report
    assert report["cases"] == 2
    assert report["labels"][0] == {
        "id": 1,
        "name": "person",
        "cases": 1,
        "mean_voxels": 48.0,
        "mean_share": 0.0625,
        "mean_ml": None,
        "range_ml": None,
    }
    assert report["empty_labels"] == ["2"]
    assert "1 of 2 labels resized" in report["notes"]
    assert report["spacing_mm"] == {"known": 0, "unknown": 2}


def test_label_volumes_are_in_millilitres_where_spacing_is_known(tmp_path):
    synapse_case(tmp_path / "src", 5, values=[6, 6, 8])
    report = prepare("synapse", tmp_path / "src", tmp_path / "out").report
    rows = {row["name"]: row for row in report["labels"]}
    assert rows["liver"]["mean_ml"] == round(2 * 1.5 * 1.5 * 8 / 1000, 2)
    assert rows["spleen"]["cases"] == 0
    assert report["spacing_mm"]["median"] == [1.5, 1.5, 8.0]


def test_an_identity_affine_means_unknown_spacing(tmp_path):
    volume(tmp_path / "src" / "img" / "img0005.nii.gz", affine=np.eye(4))
    labels(tmp_path / "src" / "label" / "label0005.nii.gz", affine=np.eye(4))
    report = prepare("synapse", tmp_path / "src", tmp_path / "out").report
    assert report["spacing_mm"] == {"known": 0, "unknown": 1}
    assert report["labels"][0]["mean_ml"] is None


def test_a_broken_set_leaves_a_report_and_nothing_else(tmp_path):
    for stem in ("ISIC_0000001", "ISIC_0000002"):
        isic_pair(tmp_path / "src", stem)
    (tmp_path / "src" / "images" / "ISIC_0000002.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"ISIC_0000002\.jpg: the file is empty"):
        prepare("isic", tmp_path / "src", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.json", "report.md"]
    assert "ISIC_0000002.jpg: the file is empty" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_broken_cases_may_be_left_out_and_are_listed(tmp_path):
    for stem in ("ISIC_0000001", "ISIC_0000002", "ISIC_0000003"):
        isic_pair(tmp_path / "src", stem)
    (tmp_path / "src" / "images" / "ISIC_0000002.jpg").write_bytes(b"")
    (tmp_path / "src" / "labels" / "ISIC_0000003_segmentation.png").unlink()
    prepared = prepare("isic", tmp_path / "src", tmp_path / "out", skip_broken=True)
    assert prepared.report["cases"] == 1
    assert len(prepared.report["problems"]) == 2
    content = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert [item["case_id"] for item in content["training"]] == ["ISIC_0000001"]
    assert sorted(path.name for path in (tmp_path / "out" / "labels").iterdir()) == ["ISIC_0000001.png"]


def test_a_set_without_a_sound_case_is_refused_even_then(tmp_path):
    isic_pair(tmp_path / "src")
    (tmp_path / "src" / "images" / "ISIC_0000001.jpg").write_bytes(b"")
    with pytest.raises(DatasetError):
        prepare("isic", tmp_path / "src", tmp_path / "out", skip_broken=True)


def test_preparing_again_replaces_what_was_there(tmp_path):
    isic_pair(tmp_path / "src")
    prepare("isic", tmp_path / "src", tmp_path / "out")
    first = (tmp_path / "out" / "dataset.json").read_bytes()
    (tmp_path / "out" / "labels" / "stale.png").write_bytes(b"x")
    prepare("isic", tmp_path / "src", tmp_path / "out")
    assert (tmp_path / "out" / "dataset.json").read_bytes() == first
    assert [path.name for path in (tmp_path / "out" / "labels").iterdir()] == ["ISIC_0000001.png"]
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_labels_of_others_are_never_replaced(tmp_path):
    isic_pair(tmp_path)
    with pytest.raises(ValueError, match="must not hold labels that amsam prepare did not write"):
        prepare("isic", tmp_path, tmp_path)
    assert len(list((tmp_path / "labels").iterdir())) == 1


def test_the_source_is_never_written_to(tmp_path):
    isic_pair(tmp_path / "src")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "src").rglob("*")}
    prepare("isic", tmp_path / "src", tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "src").rglob("*")} == before


def test_the_sheet_shows_outlines_of_every_case(tmp_path):
    list(write_phantoms("acdc", tmp_path / "src", cases=2, side=48))
    prepare("acdc", tmp_path / "src", tmp_path / "out", sheet_cases=3)
    sheet = np.array(Image.open(tmp_path / "out" / "contact_sheet.png"))
    for colour in ((230, 159, 0), (86, 180, 233), (0, 158, 115)):  # RV, Myo, LV
        assert (sheet[50:] == colour).all(-1).sum() > 20


def test_an_outline_lies_just_inside_its_class():
    label = np.zeros((5, 5), np.uint8)
    label[1:4, 1:4] = 1
    drawn = draw_outlines(np.zeros((5, 5, 3), np.uint8), label)
    assert (drawn.any(-1) == (label > 0)).sum() == 24  # all but the centre of the 3 x 3 square
    assert not drawn[2, 2].any()


def test_a_volume_is_shown_where_it_has_most_labels(tmp_path):
    affine = np.diag([8.0, 1.5, 1.5, 1.0])
    image = volume(tmp_path / "image.nii.gz", affine=affine)
    label = labels(tmp_path / "label.nii.gz", affine=affine)
    case = read_case(image, label)
    case.label.array[:] = 0
    case.label.array[4, 1, 1], case.label.array[4, 2, 1], case.label.array[2] = 1, 2, 1
    assert telling_slice(case.label.array, case.image) == (0, 4)
    assert make_tile(case, "x").caption == "x [4]"


@pytest.mark.parametrize("flip", [1, -1])
def test_a_slice_is_upright_however_it_is_stored(tmp_path, flip):
    """A mark at the patient's right and front must show at the top left."""
    affine = np.diag([-2.0 * flip, -2.0 * flip, 5.0, 1.0])  # flip 1: stored right to left, front to back
    loaded = read_image(volume(tmp_path / "image.nii.gz", shape=(4, 6, 2), affine=affine))
    plane = np.zeros((4, 6))
    plane[(0, 0) if flip == 1 else (-1, -1)] = 1
    shown, aspect = upright(plane, loaded, 2)
    assert shown.shape == (6, 4)
    assert shown[0, 0] == 1
    assert aspect == 1


def test_options_that_a_set_does_not_take_are_refused(tmp_path):
    with pytest.raises(ValueError, match="isic takes no labels"):
        find_dataset("isic", tmp_path, labels="acdc")
    with pytest.raises(ValueError, match="data set must be one of own, acdc, synapse, isic, plain"):
        find_dataset("brain", tmp_path)


def test_the_command_tells_what_it_saw(tmp_path):
    isic_pair(tmp_path / "src")
    result = CliRunner().invoke(app, ["isic", str(tmp_path / "src"), str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "isic: 1 case of 1 patient (1 in no section)" in result.output
    assert "1 lesion: in 1 case, mean 12.0 pixels" in result.output


def test_the_command_takes_a_table(tmp_path):
    picture(tmp_path / "src" / "images" / "1.png")
    mask(tmp_path / "src" / "labels" / "1.png", value=2)
    arguments = ["plain", str(tmp_path / "src"), str(tmp_path / "out"), "--labels"]
    assert CliRunner().invoke(app, [*arguments, "1=car,2=wheel"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "1=car,wheel"]).exit_code == 1


def test_the_command_takes_a_pattern_of_patients(tmp_path):
    for name in ("7_L", "7_R", "8_L"):
        picture(tmp_path / "src" / "images" / f"{name}.png")
        mask(tmp_path / "src" / "labels" / f"{name}.png")
    arguments = ["plain", str(tmp_path / "src"), str(tmp_path / "out"), "--patients"]
    result = CliRunner().invoke(app, [*arguments, "(.+)_[LR]"])
    assert "plain: 3 cases of 2 patients" in result.output
    assert "2 patients of 3 cases, as '(.+)_[LR]' says" in result.output
    assert "patient of its own" not in result.output
    listed = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))["training"]
    assert [case["patient_id"] for case in listed] == ["7", "7", "8"]
    assert CliRunner().invoke(app, [*arguments, "(.+)_L"]).exit_code == 1


def test_the_command_ends_without_a_traceback_on_broken_data(tmp_path):
    isic_pair(tmp_path / "src")
    (tmp_path / "src" / "labels" / "ISIC_0000001_segmentation.png").write_bytes(b"PNG?")
    result = CliRunner().invoke(app, ["isic", str(tmp_path / "src"), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "ISIC_0000001_segmentation.png" in result.output + (result.stderr if result.stderr_bytes else "")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "cases", "patients"),
    [
        ("acdc", 160, 80),
        ("synapse", 18, 18),
        ("isic", 51, 51),
        ("kvasir", 900, 900),
        ("glas", 85, 85),
        ("human", 230, 230),
    ],
)
def test_real_sets_are_prepared_with_the_counts_of_their_table(real_data, tmp_path, dataset, cases, patients):
    report = prepare(dataset, real_data / dataset, tmp_path).report
    assert (report["cases"], report["patients"], report["problems"]) == (cases, patients, [])
    if dataset == "acdc":
        assert report["sections"] == {"training": 140, "validation": 20}
        assert report["spacing_mm"]["known"] == 0
    if dataset == "human":
        assert "146 of 230 labels resized" in report["notes"]


def test_masks_of_0_and_255_become_class_1_by_their_table(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "src" / "images" / f"{name}.png")
        mask(tmp_path / "src" / "labels" / f"{name}.png")
    prepared = prepare("plain", tmp_path / "src", tmp_path / "out", labels={255: "lesion"})
    content = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"] == {"0": "background", "1": "lesion"}
    written = np.array(Image.open(tmp_path / "out" / content["training"][0]["label"]))
    assert np.unique(written).tolist() == [0, 1]
    assert prepared.report["labels"][0]["cases"] == 2
    with pytest.raises(ValueError, match="losses and scores leave 255 out"):
        prepare("plain", tmp_path / "src", tmp_path / "more", labels={1: "skin", 255: "lesion"})
    with pytest.raises(DatasetError, match="got 255; for masks of 0 and 255 give 255=lesion"):
        prepare("plain", tmp_path / "src", tmp_path / "more", labels={1: "lesion"})
