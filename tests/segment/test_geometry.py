"""A mask lies in the world where its image lies, however the image is stored."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from amsam_monai.data.files.images import read_image, read_label
from amsam_monai.segment.segmenter import Segmenter
from tests.segment.toy import LABELS, ORIENTATIONS, Toy, oblique, phantom, stored_as

STRAIGHT = np.array([[0.8, 0, 0, -20.0], [0, 0.9, 0, 7.0], [0, 0, 3.0, 11.0], [0, 0, 0, 1]])
AFFINES = {
    "straight": STRAIGHT,
    "oblique": oblique((12, 10, 6), (0.8, 0.9, 3.0)),
    "oblique, isotropic": oblique((12, 10, 6), (1.5, 1.5, 1.5), angles=(-0.3, 0.25, 0.4)),
    "thickest front to back": oblique((12, 10, 6), (0.8, 4.0, 0.9)),
}


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(Toy(), LABELS, intensity={"mode": "bit_depth"})


def at_ras(image, ras):
    """Voxels of `image` at the voxel centres of `ras`, nearest, by the affines alone."""
    index = np.stack(np.meshgrid(*map(np.arange, ras.shape), indexing="ij"), axis=-1)
    world = nib.affines.apply_affine(ras.affine, index)
    nearest = np.rint(nib.affines.apply_affine(np.linalg.inv(image.affine), world)).astype(int)
    assert (nearest >= 0).all()
    assert (nearest < image.shape).all()
    return np.asarray(image.dataobj)[tuple(np.moveaxis(nearest, -1, 0))]


def run(segmenter, image, folder, name, ending=".nii.gz"):
    nib.save(image, folder / f"{name}.nii.gz")
    return nib.load(segmenter(folder / f"{name}.nii.gz").save(folder / f"{name}_seg{ending}"))


def sitk_geometry(path):
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection(), reader.GetPixelID()


@pytest.mark.parametrize("kind", AFFINES)
def test_a_mask_is_the_same_in_world_space_for_all_48_orientations(kind, segmenter, tmp_path):
    assert len(set(ORIENTATIONS)) == 48
    ras = phantom(affine=AFFINES[kind])
    expected = np.asarray(run(segmenter, ras, tmp_path, "ras").dataobj)
    assert set(np.unique(expected)) == {0, 1, 2, 3}
    for letters in ORIENTATIONS:
        stored = stored_as(ras, letters)
        mask = run(segmenter, stored, tmp_path, letters)
        np.testing.assert_array_equal(at_ras(mask, ras), expected, err_msg=letters)
        source = nib.load(tmp_path / f"{letters}.nii.gz")
        np.testing.assert_array_equal(mask.affine, source.affine)
        np.testing.assert_array_equal(mask.header.get_zooms(), source.header.get_zooms())
        assert mask.get_data_dtype() == source.get_data_dtype()
        for code in ("qform_code", "sform_code"):
            assert mask.header[code] == source.header[code]
        assert sitk_geometry(tmp_path / f"{letters}_seg.nii.gz") == sitk_geometry(tmp_path / f"{letters}.nii.gz")


@pytest.mark.parametrize("options", [{"neighbours": 1}, {"flips": ("horizontal", "vertical")}])
def test_neighbours_and_flips_do_not_depend_on_storage_either(options, tmp_path):
    segmenter = Segmenter(Toy(), LABELS, intensity={"mode": "bit_depth"}, slices={**options, "batch_size": 2})
    ras = phantom(affine=AFFINES["oblique"])
    expected = np.asarray(run(segmenter, ras, tmp_path, "ras").dataobj)
    for letters in ("LPS", "SAL", "PIR", "IRP"):
        mask = run(segmenter, stored_as(ras, letters), tmp_path, letters)
        np.testing.assert_array_equal(at_ras(mask, ras), expected, err_msg=letters)


def test_statistics_of_a_volume_do_not_depend_on_storage(tmp_path):
    segmenter = Segmenter(Toy(), LABELS, intensity={"mode": "percentile"})
    ras = phantom(affine=STRAIGHT)
    ras = nib.Nifti1Image(np.asarray(ras.dataobj).astype(np.float32) * 0.37 - 11, ras.affine)
    expected = np.asarray(run(segmenter, ras, tmp_path, "ras").dataobj)
    assert expected.dtype == np.uint8  # a label map of a float image is no float
    for letters in ("LPS", "IAR"):
        np.testing.assert_array_equal(at_ras(run(segmenter, stored_as(ras, letters), tmp_path, letters), ras), expected)


def test_the_network_sees_axial_slices_as_a_radiologist_does(tmp_path):
    voxels = np.zeros((6, 8, 3), np.int16)  # RAS
    voxels[5, 0, 0] = 255  # the patient's right, back, feet
    seen = []

    class Spy(Toy):
        def forward(self, image, **kwargs):
            seen.append(image)
            return super().forward(image, **kwargs)

    nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 4.0, 1])), tmp_path / "a.nii")
    Segmenter(Spy(), LABELS, intensity={"mode": "bit_depth"})(tmp_path / "a.nii")
    first = seen[0][0, 0]  # slices from the feet upwards
    assert first.shape == (8, 6)  # rows front to back, columns from the patient's right to left
    assert first[7, 0] == 1  # back is below, the patient's right is on the left
    assert first.sum() == 1


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_nrrd_and_metaimage_give_the_mask_of_their_nifti_twin(ending, segmenter, tmp_path):
    image = stored_as(phantom(affine=AFFINES["oblique"]), "PIR")
    expected = np.asarray(run(segmenter, image, tmp_path, "twin").dataobj)
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "twin.nii.gz")), str(tmp_path / f"a{ending}"))
    result = segmenter(tmp_path / f"a{ending}")
    same = result.save(tmp_path / f"seg{ending}")
    for ours, theirs in zip(sitk_geometry(same), sitk_geometry(tmp_path / f"a{ending}"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)  # NRRD stores spacing times direction
    np.testing.assert_array_equal(read_label(same).array, expected)
    nifti = nib.load(result.save(tmp_path / "seg.nii.gz"))
    np.testing.assert_array_equal(np.asarray(nifti.dataobj), expected)
    np.testing.assert_allclose(nifti.affine, image.affine, atol=1e-5)


def test_a_dicom_series_gives_the_mask_of_its_nifti_twin(segmenter, dicom_twin):
    series, nifti = dicom_twin
    expected = segmenter(nifti)
    result = segmenter(series)
    np.testing.assert_allclose(result.source.affine, expected.source.affine, atol=1e-4)
    np.testing.assert_array_equal(result.label, expected.label)
    written = read_image(result.save(series.parent / "seg.nii.gz"))
    np.testing.assert_array_equal(written.array, expected.label)
    np.testing.assert_allclose(written.affine, expected.source.affine, atol=1e-4)


def test_dicom_seg_points_at_the_slices_it_was_drawn_on(segmenter, dicom_twin):
    import highdicom as hd
    import pydicom

    series, _ = dicom_twin
    result = segmenter(series)
    segmentation = hd.seg.segread(result.save(series.parent / "seg.dcm"))
    instances = [pydicom.dcmread(member).SOPInstanceUID for member in result.source.members]
    frames = segmentation.get_pixels_by_source_instance(
        instances, combine_segments=True, assert_missing_frames_are_empty=True
    )  # (K, rows, columns)
    np.testing.assert_array_equal(frames.transpose(2, 1, 0), result.label)
    names = [description.segment_label for description in segmentation.SegmentSequence]
    assert names == list(LABELS.values())
