"""What scanners and archives put into one folder: read right, or refused by what it is."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from amsam_monai.data.files.images import ImageFileError, list_inputs, read_image, write_label
from amsam_monai.data.files.load import picture_tensor
from tests.data.dicom_files import ROOT, without_mark, write_slice, write_stack

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    "rescales",
    [
        [(1, 0), (1, -1024), (1, -1024)],  # the first slice fits into an unsigned type
        [(1, -1024), (2, 0), (1, 0)],
        [(0.5, 0), (0.25, 1), (2, -3)],  # PET: a slope of its own for every slice
    ],
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_slice_has_its_own_slope_and_intercept(rescales, modality, tmp_path):
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 60000, (3, 8, 6)).astype(np.uint16)
    for k, (slope, intercept) in enumerate(rescales):
        own = {"RescaleSlope": slope, "RescaleIntercept": intercept}
        write_slice(tmp_path / f"{k}.dcm", raw[k], z=5.0 * k, number=k + 1, modality=modality, **own)
    pairs = zip(raw.astype(np.float64), rescales, strict=True)
    wanted = np.stack([plane * slope + intercept for plane, (slope, intercept) in pairs])
    np.testing.assert_array_equal(read_image(tmp_path).array, wanted.transpose(2, 1, 0))


@pytest.fixture
def tilted(tmp_path):
    """Six slices turned by 20 degrees whose table moved along z alone."""
    angle = np.deg2rad(20)
    turn = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))
    return write_stack(tmp_path / "tilt", 6, orientation=turn, GantryDetectorTilt=20.0)


def test_a_gantry_tilt_shears_the_affine_and_the_volume_stays_true(tilted):
    loaded = read_image(tilted)
    for k in range(6):
        position = pydicom.dcmread(tilted / f"{k:03}.dcm").ImagePositionPatient
        np.testing.assert_allclose((LPS @ loaded.affine @ [0, 0, k, 1])[:3], position, atol=1e-6)
    assert loaded.voxel_ml == pytest.approx(1.5 * 1.5 * 5.0 * np.cos(np.deg2rad(20)) / 1000)


def test_a_tilted_label_is_sheared_in_nifti_exact_in_dicom_and_refused_elsewhere(tilted, tmp_path):
    loaded = read_image(tilted)
    label = np.zeros(loaded.spatial_shape, np.uint8)
    label[1:3, 2:5, 4] = 1
    written = nib.load(write_label(tmp_path / "a.nii.gz", label, loaded))
    np.testing.assert_allclose(written.affine, loaded.affine, atol=1e-4)
    assert written.header["qform_code"] == 0  # a rotation cannot hold a shear
    np.testing.assert_allclose(read_image(tmp_path / "a.nii.gz").voxel_ml, loaded.voxel_ml, rtol=1e-5)
    for ending in (".nrrd", ".mha"):
        with pytest.raises(ImageFileError, match="sheared"):
            write_label(tmp_path / f"a{ending}", label, loaded)
    seg = pydicom.dcmread(write_label(tmp_path / "a.dcm", label, loaded, {1: "liver"}))
    place = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    np.testing.assert_allclose(place, [-50, -60, 20], atol=1e-6)
    np.testing.assert_array_equal(seg.pixel_array.reshape(8, 6), label[..., 4].T)


def test_a_mosaic_is_refused_by_name(tmp_path):
    path = write_slice(tmp_path / "m.dcm", np.zeros((12, 12), np.uint16), ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"])
    for given in (path, tmp_path):
        with pytest.raises(ImageFileError, match="is a mosaic, whose slices lie as tiles"):
            read_image(given)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TriggerTime", "is a time series of 5 phases: choose one with --phase, 1 to 5"),
        ("EchoTime", "is 5 echoes: choose one"),
        ("DiffusionBValue", "is 5 diffusion weightings: choose one"),
    ],
)
def test_several_moments_at_one_place_are_named_and_one_can_be_chosen(name, words, tmp_path):
    for moment in range(5):
        for k in range(3):
            pixels = np.full((8, 6), 10 * moment + k, np.uint16)
            own = {name: 30.0 * (5 - moment), "number": 3 * moment + k + 1}
            write_slice(tmp_path / f"{moment}{k}.dcm", pixels, z=5.0 * k, modality="MR", **own)
    with pytest.raises(ImageFileError, match=words):
        read_image(tmp_path)
    loaded = read_image(tmp_path, phase=2)  # times run against the names
    assert loaded.array[0, 0].tolist() == [30, 31, 32]
    assert loaded.spacing_mm == (1.5, 1.5, 5.0)
    assert "number 2" in loaded.notes[0]
    with pytest.raises(ImageFileError, match="phase must lie in 1 to 5, got 6"):
        read_image(tmp_path, phase=6)


def test_an_unfinished_time_series_is_refused(tmp_path):
    for number in range(5):
        write_slice(tmp_path / f"{number}.dcm", np.zeros((8, 6), np.uint16), z=5.0 * (number % 2), number=number + 1)
    with pytest.raises(ImageFileError, match=r"images at every place, got"):
        read_image(tmp_path)


def test_several_stacks_in_one_series_are_refused_by_what_they_are(tmp_path):
    write_stack(tmp_path, 3)
    write_stack(tmp_path, 2, start=10, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    with pytest.raises(ImageFileError, match=r"one stack of slices, got 2 \(3 of 8 x 6, .* orientation 1 0 0 0 1 0; 2"):
        read_image(tmp_path)


@pytest.mark.parametrize("odd", [{"PixelSpacing": [0.7, 0.7]}, {"pixels": np.zeros((9, 6), np.uint16)}])
def test_slices_of_another_spacing_or_size_are_refused(odd, tmp_path):
    write_stack(tmp_path, 3)
    odd = dict(odd)
    write_slice(tmp_path / "x.dcm", odd.pop("pixels", np.zeros((8, 6), np.uint16)), z=15.0, number=9, **odd)
    with pytest.raises(ImageFileError, match="one stack of slices, got 2"):
        read_image(tmp_path)


def test_a_file_that_is_there_twice_counts_once(tmp_path):
    write_stack(tmp_path, 4)
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "002.dcm").read_bytes())
    loaded = read_image(tmp_path)
    assert loaded.array[5, 7].tolist() == [100, 101, 102, 103]
    assert loaded.voxel_ml == pytest.approx(1.5 * 1.5 * 5 / 1000)
    assert loaded.notes == ["copy.dcm is a copy of 002.dcm: passed over"]


def test_another_slice_at_a_place_is_refused_with_both_names(tmp_path):
    write_stack(tmp_path, 4)
    write_slice(tmp_path / "other.dcm", np.ones((8, 6), np.uint16), z=10.0, number=9)
    with pytest.raises(ImageFileError, match=r"every slice once, got 2 at one place \(002.dcm, other.dcm\)"):
        read_image(tmp_path)


def test_a_position_that_is_no_number_is_refused_with_its_file(tmp_path):
    write_stack(tmp_path, 3)
    path = tmp_path / "001.dcm"
    path.write_bytes(path.read_bytes().replace(b"-50.0\\-60.0\\5.0", b"-50.0\\-60.0\\NaN"))
    with pytest.raises(ImageFileError, match=r"001.dcm: ImagePositionPatient must be 3 finite numbers"):
        read_image(tmp_path)


@pytest.mark.parametrize(("moved", "match"), [(3.0, "gaps from 2 to 8"), (0.9, "0.9 mm beside its place")])
def test_slices_at_uneven_distances_are_refused(moved, match, tmp_path):
    write_stack(tmp_path, 4)
    write_slice(tmp_path / "001.dcm", np.zeros((8, 6), np.uint16), z=5.0 + moved, number=2)
    with pytest.raises(ImageFileError, match=match):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("count", "missing"),
    [(4, {"PixelSpacing": None}), (1, {"SliceThickness": None}), (1, {"PixelSpacing": None, "SliceThickness": None})],
)
def test_lengths_that_no_file_says_stay_unknown(count, missing, tmp_path):
    loaded = read_image(write_stack(tmp_path / "in", count, **missing))
    assert loaded.spacing_mm is None
    assert loaded.voxel_ml is None
    label = np.ones(loaded.spatial_shape, np.uint8)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        again = read_image(write_label(tmp_path / f"a{ending}", label, loaded))
        assert again.spacing_mm is None
        np.testing.assert_allclose(again.affine, loaded.affine, atol=1e-6)


def test_positions_tell_the_spacing_where_no_thickness_is_given(tmp_path):
    assert read_image(write_stack(tmp_path, 4, SliceThickness=None)).spacing_mm == (1.5, 1.5, 5.0)


def test_a_detectors_pitch_is_said_to_be_that(tmp_path):
    own = {"PixelSpacing": None, "SliceThickness": None, "ImagerPixelSpacing": [0.2, 0.2], "position": False}
    loaded = read_image(write_slice(tmp_path / "x.dcm", np.zeros((8, 6), np.uint16), modality="DX", **own))
    assert (loaded.kind, loaded.spacing_mm, loaded.voxel_ml) == ("image", None, None)
    assert loaded.notes == ["ImagerPixelSpacing, 0.2 x 0.2 mm, is the detector's and not the patient's: the spacing is "
                            "unknown"]  # fmt: skip


def test_a_folder_of_radiographs_is_a_folder_of_pictures(tmp_path):
    for number in (1, 2):
        pixels = np.arange(48, dtype=np.uint16).reshape(8, 6) * number
        write_slice(tmp_path / f"{number}.dcm", pixels, number=number, modality="DX", position=False)
    assert [path.name for path in list_inputs(tmp_path)] == ["1.dcm", "2.dcm"]
    loaded = read_image(tmp_path / "2.dcm")
    np.testing.assert_array_equal(loaded.array, 2 * np.arange(48).reshape(8, 6))  # rows first, as pictures are
    with pytest.raises(ImageFileError, match="must hold one image, got 2 pictures"):
        read_image(tmp_path)


def test_an_inverted_radiograph_is_read_as_people_see_it(tmp_path):
    eight = np.arange(0, 240, 5, dtype=np.uint8).reshape(8, 6)
    twelve = (4095 - np.rint(eight * (4095 / 255))).astype(np.uint16)
    own = {"modality": "DX", "position": False, "BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"}
    loaded = read_image(write_slice(tmp_path / "x.dcm", twelve, **own))
    np.testing.assert_allclose(picture_tensor(loaded)[0].numpy(), eight, atol=0.1)
    assert "turned round" in loaded.notes[0]


@pytest.mark.parametrize(("bits", "slope", "intercept"), [(12, 1, -1024), (16, 1, 0), (12, 0.5, 3)])
def test_hounsfield_units_stay_what_they_are_however_they_are_shown(bits, slope, intercept, tmp_path):
    raw = np.arange(48, dtype=np.uint16).reshape(8, 6) * 10
    own = {"BitsStored": bits, "RescaleSlope": slope, "RescaleIntercept": intercept}
    write_slice(tmp_path / "x.dcm", raw, PhotometricInterpretation="MONOCHROME1", **own)
    wanted = raw.astype(np.float64) * slope + intercept
    np.testing.assert_array_equal(read_image(tmp_path / "x.dcm").array[..., 0].T, wanted)


def test_a_film_is_named_and_a_frame_can_be_chosen(tmp_path):
    frames = np.arange(3 * 48, dtype=np.uint8).reshape(3, 8, 6)
    path = write_slice(tmp_path / "x.dcm", frames, modality="US", position=False, FrameTime=30.0)
    with pytest.raises(ImageFileError, match="is a film of 3 frames: choose one with --phase, 1 to 3"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, phase=3).array, frames[2])


@pytest.mark.parametrize("series", [f"{ROOT}.2", f"{ROOT}.77"])
def test_contours_beside_a_series_are_passed_over(series, tmp_path):
    write_stack(tmp_path, 3)
    contours = pydicom.dcmread(tmp_path / "000.dcm")
    for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(contours, name)
    contours.Modality, contours.SeriesInstanceUID = "RTSTRUCT", series
    contours.SOPClassUID = contours.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    contours.save_as(tmp_path / "RS.dcm")
    assert read_image(tmp_path).array.shape == (6, 8, 3)
    with pytest.raises(ImageFileError, match="must be an image, got RT Structure Set Storage"):
        read_image(tmp_path / "RS.dcm")


def test_files_without_the_mark_are_read_like_others(tmp_path):
    wanted = read_image(write_stack(tmp_path / "marked", 3)).array
    for path in write_stack(tmp_path / "studies" / "old", 3).iterdir():
        without_mark(path)
        path.rename(path.with_suffix(""))
    assert list_inputs(tmp_path / "studies") == [tmp_path / "studies" / "old"]
    np.testing.assert_array_equal(read_image(tmp_path / "studies" / "old").array, wanted)


def test_a_series_is_chosen_by_its_uid(tmp_path):
    write_stack(tmp_path, 3)
    write_stack(tmp_path, 2, start=10, series=f"{ROOT}.9", SeriesDescription="late")
    with pytest.raises(ImageFileError, match=r"got 2 .*\.9 \[late, 2 slices\]\); choose one with --series"):
        read_image(tmp_path)
    assert read_image(tmp_path, series=f"{ROOT}.9").array.shape == (6, 8, 2)


def test_one_slice_can_be_written_as_a_picture(tmp_path):
    loaded = read_image(write_slice(tmp_path / "x.dcm", np.zeros((8, 6), np.uint16)))
    label = np.zeros(loaded.spatial_shape, np.uint8)
    label[4, 1, 0] = 2  # column 4, row 1
    for ending in (".png", ".tif"):
        with Image.open(write_label(tmp_path / f"y{ending}", label, loaded)) as picture:
            np.testing.assert_array_equal(np.array(picture), label[..., 0].T)


def enhanced(path, frames, positions, rescales=None, times=None):
    """A multi-frame file whose planes stand in functional groups. Shape of frames: (count, rows, columns)."""
    write_slice(path, frames, modality="MR", position=False, PixelSpacing=None, SliceThickness=None)
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"

    def group(**values):
        item = pydicom.Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        return pydicom.Sequence([item])

    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=[1.5, 2.0], SliceThickness=4.0)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    dataset.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    planes = []
    for number, z in enumerate(positions):
        plane = pydicom.Dataset()
        plane.PlanePositionSequence = group(ImagePositionPatient=[0, 0, z])
        if rescales is not None:
            slope, intercept = rescales[number]
            plane.PixelValueTransformationSequence = group(RescaleSlope=slope, RescaleIntercept=intercept)
        if times is not None:
            plane.FrameContentSequence = group(TemporalPositionIndex=times[number])
            plane.CardiacSynchronizationSequence = group(NominalCardiacTriggerDelayTime=30.0 * times[number])
        planes.append(plane)
    dataset.PerFrameFunctionalGroupsSequence = pydicom.Sequence(planes)
    dataset.save_as(path)
    return path


def test_frames_of_one_file_are_sorted_and_rescaled_each_by_its_own(tmp_path):
    frames = np.random.default_rng(0).integers(0, 4000, (3, 8, 6)).astype(np.uint16)
    path = enhanced(tmp_path / "e.dcm", frames, [10, 0, 5], [(1, 0), (2, -1024), (0.5, 3)])
    loaded = read_image(path)
    wanted = np.stack([frames[1] * 2.0 - 1024, frames[2] * 0.5 + 3, frames[0]])
    np.testing.assert_allclose(loaded.array, wanted.transpose(2, 1, 0))
    assert loaded.spacing_mm == (2.0, 1.5, 5.0)
    assert loaded.frames == [1, 2, 0]


def test_phases_of_one_file_are_told_apart(tmp_path):
    frames = np.arange(6 * 48, dtype=np.uint16).reshape(6, 8, 6)
    path = enhanced(tmp_path / "e.dcm", frames, [0, 5, 0, 5, 0, 5], times=[1, 1, 2, 2, 3, 3])
    with pytest.raises(ImageFileError, match="is a time series of 3 phases: choose one with --phase, 1 to 3"):
        read_image(path)
    loaded = read_image(path, phase=2)
    np.testing.assert_array_equal(loaded.array, frames[2:4].transpose(2, 1, 0))
    with pytest.raises(ImageFileError, match=r"DICOM-SEG cannot refer to this series .*; write NIfTI instead"):
        write_label(tmp_path / "a.dcm", np.ones(loaded.spatial_shape, np.uint8), loaded, {1: "liver"})
