"""Bundles in memory: clients kept apart, new weights picked up, cases ranked, training."""

import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from amsam_monai.bundles.load import load_bundle
from amsam_monai.bundles.model_file import amend_model
from amsam_monai.label_app.cases import LabelledCase, as_classes, patient_of, split_cases
from amsam_monai.label_app.launch import prepare_app
from amsam_monai.label_app.results import ResultFormat, write_result
from amsam_monai.label_app.service import BundleService
from amsam_monai.segment.ranking import certainty, least_certain, most_diverse, sample_slices, slice_certainty
from tests.label_app.nano_bundle import write_nano_bundle

CLICK = {"label": "liver", "foreground": [[20, 15, 3]], "background": []}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_nano_bundle(tmp_path_factory.mktemp("bundles"), system="aisam")


def save_ball(path, centre=(20, 15, 3)):
    grid = np.mgrid[:40, :36, :7].astype(float)
    distance = sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, (1, 1, 3), strict=True))
    ball = distance < 110
    affine = np.diag([-1.5, 1.5, 6.0, 1.0])
    nib.save(nib.Nifti1Image((100 * ball + grid[0] % 5).astype(np.int16), affine), path)
    nib.save(nib.Nifti1Image(ball.astype(np.uint8), affine), path.parent / f"label-{path.name}")
    return path


def save_balls(root, count=3):
    """Studies of balls p0, p1, ... in `root`, whose labels lie outside of them as label0.nii.gz, ..."""
    studies = root / "studies"
    studies.mkdir()
    for number in range(count):
        image = save_ball(studies / f"p{number}.nii.gz", (14 + 4 * number, 15, 3))
        (image.parent / f"label-{image.name}").rename(root / f"label{number}.nii.gz")
    return studies


@pytest.fixture
def ball(tmp_path):
    return save_ball(tmp_path / "ball.nii.gz")


def test_clients_on_one_image_are_kept_apart_and_share_embeddings(bundle, ball):
    service = BundleService(bundle)
    first = service.click("a", ball, CLICK)
    kept = len(service.cache)
    second = service.click("b", ball, {**CLICK, "foreground": [[5, 5, 3]]})
    assert len(service.cache) == kept == 1
    again = service.click("a", ball, CLICK)
    np.testing.assert_array_equal(first.label, again.label)
    assert first.params["points"] != second.params["points"]


def test_automatic_points_come_back_with_the_answer(bundle, ball):
    points = BundleService(bundle).click("a", ball, CLICK).params["points"]["liver"]
    assert {"voxel": [20.0, 15.0, 3.0], "positive": True, "automatic": False} in points
    assert sum(point["automatic"] for point in points) > 0


def test_all_points_of_the_client_replace_those_before(bundle, ball):
    service = BundleService(bundle)
    request = {**CLICK, "automatic_points": False}
    service.click("a", ball, request)
    params = service.click("a", ball, {**request, "foreground": [[5, 5, 3], [6, 6, 4]]}).params
    voxels = [point["voxel"] for point in params["points"]["liver"]]
    assert voxels == [[5.0, 5.0, 3.0], [6.0, 6.0, 4.0]]
    assert params["slices"] == [3, 4]


def test_reset_forgets_the_points_and_keeps_the_masks(bundle, ball):
    """3D Slicer asks for a reset with the first click after another label was chosen."""
    service = BundleService(bundle)
    automatic = service.segment("a", ball).label == 1
    others = [0, 1, 2, 5, 6]
    assert automatic[..., others].any()
    service.click("a", ball, CLICK)
    answer = service.click("a", ball, {**CLICK, "foreground": [[21, 16, 4]], "reset_state": True})
    np.testing.assert_array_equal(answer.label[..., others], automatic[..., others])
    assert answer.params["slices"] == [4]
    assert [point["voxel"] for point in answer.params["points"]["liver"] if not point["automatic"]] == [[21, 16, 4]]


def test_a_click_outside_leaves_the_session_as_it_was(bundle, ball):
    service = BundleService(bundle)
    before = service.click("a", ball, CLICK).label
    with pytest.raises(ValueError, match="inside the image"):
        service.click("a", ball, {**CLICK, "foreground": [[400, 1, 1]]})
    np.testing.assert_array_equal(service.click("a", ball, CLICK).label, before)


def test_sessions_and_embeddings_are_bounded(bundle, tmp_path):
    service = BundleService(bundle, max_sessions=2, max_bytes=4 * 256 * 16 * 4)
    for number in range(4):
        service.segment("a", save_ball(tmp_path / f"{number}.nii.gz"))
    assert len(service._sessions) == 2
    assert service.cache.bytes <= 4 * 256 * 16 * 4
    service.unload()
    assert service.cache.bytes == 0


def test_results_are_written_in_the_format_that_is_asked_for(bundle, ball):
    answer = BundleService(bundle).segment("a", ball)
    for extension in (None, ".nrrd", ".nii.gz"):
        form = ResultFormat.of_request({"result_extension": extension})
        path = write_result(answer.label, answer.session.image.source, answer.names, form)
        assert path.name.endswith(extension or ".nii.gz")
        path.unlink()


@pytest.mark.parametrize(
    ("asked", "pixel_type", "encoding"),
    [
        ({}, sitk.sitkUInt8, b"gzip"),
        ({"result_dtype": "uint8", "result_compress": False}, sitk.sitkUInt8, b"raw"),
        ({"result_dtype": "uint16", "result_compress": "true"}, sitk.sitkUInt16, b"gzip"),
    ],
)
def test_voxel_type_and_compression_are_those_asked_for(bundle, ball, asked, pixel_type, encoding):
    answer = BundleService(bundle).segment("a", ball)  # of an image stored as int16
    form = ResultFormat.of_request({"result_extension": ".nrrd", **asked})
    path = write_result(answer.label, answer.session.image.source, answer.names, form)
    assert sitk.ReadImage(str(path)).GetPixelID() == pixel_type
    assert b"encoding: " + encoding in path.read_bytes()[:600]
    path.unlink()


def test_a_value_above_255_is_written_in_16_bits_whatever_is_asked(bundle, ball):
    answer = BundleService(bundle).segment("a", ball)
    label = (answer.label > 0) * np.uint16(300)
    path = write_result(label, answer.session.image.source, {300: "liver"}, ResultFormat(dtype="uint8"))
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), label)
    path.unlink()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"result_extension": ".exe"}, "result_extension must be one of"),
        ({"result_dtype": "complex64"}, "result_dtype must be one of"),
    ],
)
def test_formats_that_are_none_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        ResultFormat.of_request(asked)


def test_patients_are_not_split():
    assert patient_of("patient001_frame01") == patient_of("patient001_frame12") == "patient001"
    assert patient_of("case-7_ES") == "case-7"
    assert patient_of("img0001") == "img0001"
    cases = [LabelledCase(f"p{n}_{t}", f"p{n}", None, None) for n in range(5) for t in "ab"]
    training, validation = split_cases(cases, 0.2, seed=1)
    assert len(training) == 8
    assert {case.patient_id for case in training}.isdisjoint({case.patient_id for case in validation})
    assert split_cases(cases[:4], 0.5, seed=0)[1] == []


def test_labels_are_read_by_their_names():
    label = np.array([0, 1, 2, 3])
    classes = as_classes(label, {1: "Spleen", 2: "tumour", 3: "liver"}, {1: "liver", 2: "spleen"})
    assert classes.tolist() == [0, 2, 0, 1]
    assert as_classes(label, None, {1: "liver", 2: "spleen"}).tolist() == [0, 1, 2, 0]


def test_certainty_is_that_of_the_least_sure_class():
    mask, labels = np.array([[0, 1], [2, 2]]), {1: "a", 2: "b"}
    assert slice_certainty(labels, mask, {"a": 0.9, "b": 0.4}, {}) == 0.4
    assert slice_certainty(labels, mask, {}, {"a": 0.9, "b": 0.45}) == pytest.approx(0.1)
    assert slice_certainty(labels, mask * 0, {"a": 0.1, "b": 0.1}, {}) == 1.0
    assert least_certain({"x": 0.5, "y": 0.2, "z": 0.2}) == "y"
    assert sample_slices(3) == [0, 1, 2]
    assert sample_slices(100) == [10, 30, 50, 70, 90]


def test_the_most_diverse_case_is_farthest_from_what_was_seen():
    one, near, far = np.array([1.0, 0.0]), np.array([0.9, 0.436]), np.array([0.0, 1.0])
    assert most_diverse({"near": near, "far": far}, [one]) == "far"
    assert most_diverse({"one": one, "near": near, "far": far}, []) == "near"


def test_an_open_image_has_a_certainty(bundle, ball):
    session = BundleService(bundle).new_session()
    session.open(ball)
    assert 0.0 <= certainty(session) <= 1.0


def test_an_app_folder_holds_copies_that_training_may_change(bundle, tmp_path):
    app = prepare_app(tmp_path / "app", [bundle])
    assert "AmsamApp" in (app / "main.py").read_text(encoding="utf-8")
    assert load_bundle(app / "model" / bundle.name).labels == {1: "liver", 2: "spleen"}
    (app / "model" / bundle.name / "note").write_text("learned", encoding="utf-8")
    prepare_app(app, [bundle])
    assert (app / "model" / bundle.name / "note").exists()
    prepare_app(app, [bundle], fresh=True)
    assert not (app / "model" / bundle.name / "note").exists()
    shutil.copytree(bundle, tmp_path / "untrained")
    (tmp_path / "untrained" / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match="not trained yet"):
        prepare_app(app, [tmp_path / "untrained"])


def test_an_automatic_answer_tells_what_is_beyond_the_limits(bundle, ball, tmp_path):
    limited = tmp_path / "limited"
    shutil.copytree(bundle, limited)
    plain = BundleService(limited).segment("a", ball)
    assert plain.params["warnings"] == []
    there = plain.params["label_names"]
    amend_model(
        limited / "models" / "model.pt", limits={"classes": {name: {"volume_share": [0, 1e-9]} for name in there}}
    )
    told = BundleService(limited).segment("a", ball).params["warnings"]
    assert there
    assert [one.split(" covers ")[0] for one in told] == sorted(there, key=there.get)
