import gzip
import pickle

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from amsam_monai.data.files.images import (
    ImageFileError,
    check_same_geometry,
    list_inputs,
    read_image,
    read_label,
    stem_of,
    write_label,
    write_probabilities,
)

AFFINE = np.array([[0.9, 0, 0, 5.0], [0, 0.8, 0.3, -7.0], [0, -0.2, 3.0, 11.0], [0, 0, 0, 1.0]])
VOXELS = np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3)


def save(path, voxels=VOXELS, affine=AFFINE, kind=nib.Nifti1Image):
    nib.save(kind(voxels, affine), path)
    return path


def test_nifti_keeps_type_affine_and_spacing(tmp_path):
    loaded = read_image(save(tmp_path / "a.nii.gz"))
    assert loaded.kind == "volume"
    assert loaded.array.dtype == np.int16
    np.testing.assert_array_equal(loaded.array, VOXELS)
    np.testing.assert_allclose(loaded.affine, AFFINE, atol=1e-6)
    assert loaded.spacing_mm == pytest.approx(np.linalg.norm(AFFINE[:3, :3], axis=0))


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1, 1, 1]), None])
def test_an_identity_or_missing_affine_means_unknown_spacing(affine, tmp_path):
    assert read_image(save(tmp_path / "a.nii", affine=affine)).spacing_mm is None


def test_voxel_sizes_without_a_transform_are_known_spacing(tmp_path):
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_zooms((0.7, 0.7, 5))
    nib.save(image, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").spacing_mm == pytest.approx((0.7, 0.7, 5))


def test_rescaled_voxels_are_rescaled(tmp_path):
    image = nib.Nifti1Image(VOXELS.astype(np.float32), AFFINE)
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(2.0, -10.0)
    nib.save(image, tmp_path / "a.nii")
    loaded = read_image(tmp_path / "a.nii")
    assert loaded.array.dtype == np.float32
    np.testing.assert_array_equal(loaded.array, VOXELS * 2.0 - 10)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3, 1), (4, 5, 1, 1, 1)])
def test_axes_of_length_one_come_and_go_and_come_back(shape, tmp_path):
    voxels = np.ones(shape, np.int16)
    loaded = read_image(save(tmp_path / "a.nii", voxels))
    assert loaded.array.shape == (4, 5, shape[2] if len(shape) > 2 else 1)
    written = nib.load(write_label(tmp_path / "b.nii", np.ones(loaded.spatial_shape, np.uint8), loaded))
    assert written.shape == nib.load(tmp_path / "a.nii").shape


def test_a_series_in_time_is_refused_with_advice(tmp_path):
    with pytest.raises(ImageFileError, match=r"three axes.*\(4, 5, 3, 2\).*split the series"):
        read_image(save(tmp_path / "a.nii", np.zeros((4, 5, 3, 2), np.int16)))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 5, 4), np.int16), isVector=False), str(tmp_path / "a.nrrd"))
    with pytest.raises(ImageFileError, match="split the series"):
        read_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_nrrd_and_metaimage_agree_with_nifti(ending, tmp_path):
    save(tmp_path / "a.nii", affine=np.diag([0.9, 0.8, 3.0, 1.0]))
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii")), str(tmp_path / f"b{ending}"))
    one, other = read_image(tmp_path / "a.nii"), read_image(tmp_path / f"b{ending}")
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-6)
    assert one.spacing_mm == pytest.approx(other.spacing_mm)


def ramp(*shape, dtype=np.uint8):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@pytest.mark.parametrize(
    ("name", "mode", "pixels", "expected"),
    [
        ("grey.png", "L", ramp(4, 5), ramp(4, 5)),
        ("grey.tif", "L", ramp(4, 5), ramp(4, 5)),
        ("rgb.png", "RGB", ramp(4, 5, 3), ramp(4, 5, 3)),
        ("rgba.png", "RGBA", ramp(4, 5, 4), ramp(4, 5, 4)[..., :3]),
        ("la.png", "LA", ramp(4, 5, 2), ramp(4, 5, 2)[..., 0]),
        ("deep.png", "I;16", ramp(4, 5, dtype=np.uint16) * 3000, ramp(4, 5, dtype=np.uint16) * 3000),
        ("deep.tif", "I;16", ramp(4, 5, dtype=np.uint16) * 3000, ramp(4, 5, dtype=np.uint16) * 3000),
    ],
)
def test_pictures_come_rows_first_in_their_own_depth(name, mode, pixels, expected, tmp_path):
    Image.fromarray(pixels, mode=mode if mode != "I;16" else None).save(tmp_path / name)
    loaded = read_image(tmp_path / name)
    assert (loaded.kind, loaded.affine, loaded.spacing_mm) == ("image", None, None)
    assert loaded.array.dtype == expected.dtype
    np.testing.assert_array_equal(loaded.array, expected)
    assert loaded.spatial_shape == (4, 5)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bit_colour_is_not_cut_to_eight(ending, tmp_path):
    pixels = ramp(4, 5, 3, dtype=np.uint16) * 1000
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(tmp_path / f"a{ending}"))
    np.testing.assert_array_equal(read_image(tmp_path / f"a{ending}").array, pixels)


def test_a_palette_gives_colours_in_an_image_and_indices_in_a_label(tmp_path):
    indices = ramp(4, 5) % 3
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").array.shape == (4, 5, 3)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png").array, indices)


def test_grey_pages_of_a_tif_are_a_volume_and_one_page_an_image(tmp_path):
    pages = [Image.fromarray(ramp(4, 5) + number) for number in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    loaded = read_image(tmp_path / "a.tif")
    assert loaded.kind == "volume"
    assert loaded.array.shape == (4, 5, 3)
    np.testing.assert_array_equal(loaded.array[..., 2], ramp(4, 5) + 2)
    back = read_label(write_label(tmp_path / "b.tif", loaded.array, loaded))
    np.testing.assert_array_equal(back.array, loaded.array)


@pytest.mark.parametrize(("key", "given"), [("image", None), ("img", None), ("other", "other")])
def test_npz_slices_and_h5_volumes_of_the_benchmarks(key, given, tmp_path):
    np.savez(tmp_path / "slice.npz", **{key: ramp(4, 5), "label": ramp(4, 5)})
    assert read_image(tmp_path / "slice.npz", key=given).kind == "image"
    assert read_label(tmp_path / "slice.npz").array[1, 0] == 5
    with h5py.File(tmp_path / "case.npy.h5", "w") as file:
        file[key] = ramp(3, 4, 5)  # slices first
    volume = read_image(tmp_path / "case.npy.h5", key=given)
    assert volume.array.shape == (4, 5, 3)
    np.testing.assert_array_equal(volume.array[..., 1], ramp(3, 4, 5)[1])


def test_names_without_their_ending():
    assert [stem_of(name) for name in ("x/a.nii.gz", "b.NII.GZ", "c.npy.h5", "d.1.png", ".png")] == [
        *("a", "b", "c", "d.1", ".png")
    ]


# Broken files


def cut_gz(path):
    whole = gzip.compress(save(path.with_name("whole.nii")).read_bytes() * 50)
    path.write_bytes(whole[: len(whole) // 2])


def with_nan(path):
    voxels = VOXELS.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    save(path, voxels)


def cut_png(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:700])


def flat_affine(path):
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = (1, 0, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0)
    path.write_bytes(image.header.binaryblock + bytes(4) + VOXELS.tobytes(order="F"))


BROKEN = {
    "zero byte": ("a.nii.gz", lambda path: path.touch(), r"empty \(0 bytes\)"),
    "truncated gz": ("a.nii.gz", cut_gz, "damaged, truncated"),
    "not gzip": ("a.nii.gz", lambda path: path.write_bytes(b"no gzip at all" * 40), "damaged"),
    "wrong magic": ("a.nii", lambda path: path.write_bytes(b"\0" * 500), "damaged"),
    "truncated nii": ("a.nii", lambda path: path.write_bytes(save(path).read_bytes()[:380]), "damaged"),
    "NaN": ("a.nii", with_nan, "got 1 NaN or infinite"),
    "flat affine": ("a.nii", flat_affine, "affine must be finite and invertible"),
    "truncated png": ("a.png", cut_png, "damaged"),
    "no picture": ("a.jpg", lambda path: path.write_bytes(b"<html>" * 99), "damaged"),
    "no nrrd": ("a.nrrd", lambda path: path.write_bytes(b"NRRD0004\nnonsense"), "damaged"),
    "no h5": ("a.h5", lambda path: path.write_bytes(b"\x89HDF\r\n" * 30), "damaged"),
    "no npz": ("a.npz", lambda path: path.write_bytes(b"PK\x03\x04 cut"), "damaged"),
    "no key": (
        "a.npz",
        lambda path: np.savez(path, weights=ramp(2, 2)),
        r"must hold an array named image or .*weights",
    ),
    "unknown ending": ("a.xyz", lambda path: path.write_bytes(b"hello"), "unknown ending; known are .nii"),
    "no dicom": ("a.dcm", lambda path: path.write_bytes(bytes(128) + b"DICMxxxx"), "damaged"),
    "folder": ("a", lambda path: path.mkdir(), "folder without DICOM files"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_error_that_names_it(case, tmp_path):
    name, make, message = BROKEN[case]
    make(tmp_path / name)
    with pytest.raises(ImageFileError, match=message) as caught:
        read_image(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # a loader's worker sends it on


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_image(tmp_path / "a.nii")


def test_unicode_and_spaces_in_names(tmp_path):
    save(tmp_path / "hérz 心 1.nii.gz")
    for ending in (".nrrd", ".png"):
        sitk.WriteImage(sitk.GetImageFromArray(ramp(4, 5)), str(tmp_path / f"hérz 心{ending}"))
    assert all(read_image(path).array.size for path in list_inputs(tmp_path))


# Labels


def test_labels_are_integers_whatever_their_storage(tmp_path):
    label = read_label(save(tmp_path / "a.nii", (VOXELS % 3).astype(np.float64)))
    assert label.array.dtype == np.int16
    np.testing.assert_array_equal(label.array, VOXELS % 3)
    with pytest.raises(ImageFileError, match=r"whole numbers, got 0\.5; resample them with nearest"):
        read_label(save(tmp_path / "b.nii", VOXELS / 2))
    Image.fromarray(ramp(4, 5, 3)).save(tmp_path / "c.png")
    with pytest.raises(ImageFileError, match="grey or have a palette"):
        read_label(tmp_path / "c.png")
    Image.fromarray(np.repeat(ramp(4, 5)[..., None], 3, -1)).save(tmp_path / "d.png")
    np.testing.assert_array_equal(read_label(tmp_path / "d.png").array, ramp(4, 5))
    Image.fromarray(ramp(4, 5) % 2 > 0).save(tmp_path / "e.png")
    assert set(np.unique(read_label(tmp_path / "e.png").array)) == {0, 1}


def test_a_label_of_another_shape_or_place_is_refused(tmp_path):
    image = read_image(save(tmp_path / "a.nii"))
    moved = AFFINE.copy()
    moved[0, 3] += 0.01
    with pytest.raises(ImageFileError, match=r"differs by 0\.01"):
        check_same_geometry(image, read_label(save(tmp_path / "b.nii", affine=moved)))
    moved[0, 3] = AFFINE[0, 3] + 1e-4
    check_same_geometry(image, read_label(save(tmp_path / "b.nii", affine=moved)))
    with pytest.raises(ImageFileError, match=r"shape of .*\(4, 5, 3\), got \(4, 5, 2\)"):
        check_same_geometry(image, read_label(save(tmp_path / "b.nii", VOXELS[..., :2])))


# Writing


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("dtype", "written"), [("<i2", "<i2"), (">i2", ">i2"), ("u1", "u1"), ("<f4", "u1")])
def test_nifti_out_repeats_the_inputs_header(kind, dtype, written, tmp_path):
    image = kind(VOXELS.astype(dtype), AFFINE, kind.header_class(endianness=">" if dtype[0] == ">" else "<"))
    image.set_qform(AFFINE, code=2, strip_shears=True)
    image.set_sform(AFFINE, code=4)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"patient's name"
    image.header.set_data_dtype(dtype)
    nib.save(image, tmp_path / "a.nii.gz")
    loaded = read_image(tmp_path / "a.nii.gz")
    label = (loaded.array % 4).astype(np.uint8)
    ours, theirs = nib.load(write_label(tmp_path / "b.nii.gz", label, loaded)), nib.load(tmp_path / "a.nii.gz")
    assert type(ours) is type(theirs)
    assert ours.get_data_dtype() == np.dtype(written)
    np.testing.assert_array_equal(np.asarray(ours.dataobj), label)
    for field in ("dim", "pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units"):
        np.testing.assert_array_equal(ours.header[field], theirs.header[field])
    for field in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        assert ours.header[field] == theirs.header[field]
    assert ours.header["descrip"].item() == b""


@pytest.mark.parametrize(("q_code", "s_code"), [(1, 1), (1, 2), (2, 1), (1, 4)])
def test_two_transforms_that_differ_give_one_place_in_every_format(q_code, s_code, tmp_path):
    straight = np.diag([0.9, 0.8, 3.0, 1.0])
    straight[:3, 3] = AFFINE[:3, 3]
    moved = straight.copy()
    moved[:3, 3] += (17.0, -3.0, 0.0)
    image = nib.Nifti1Image(VOXELS, None)
    image.set_qform(moved, code=q_code)
    image.set_sform(straight, code=s_code)
    nib.save(image, tmp_path / "a.nii")
    loaded = read_image(tmp_path / "a.nii")
    assert "sform and qform lie up to 17.3 mm apart; the sform counts" in loaded.notes[0]
    np.testing.assert_allclose(loaded.affine, straight, atol=1e-5)
    label = np.ones(VOXELS.shape, np.uint8)
    wanted = (np.diag([-1, -1, 1, 1]) @ straight)[:3, 3]
    for name in ("b.nii.gz", "b.mha", "b.nrrd"):
        path = write_label(tmp_path / name, label, loaded)
        np.testing.assert_allclose(sitk.ReadImage(str(path)).GetOrigin(), wanted, atol=1e-4)  # ITK's choice
        np.testing.assert_allclose(read_label(path).affine, straight, atol=1e-4)


def test_a_label_that_its_images_type_cannot_hold_is_stored_as_uint8(tmp_path):
    loaded = read_image(save(tmp_path / "a.nii", VOXELS.astype(np.int8)))
    written = nib.load(write_label(tmp_path / "b.nii", np.full(VOXELS.shape, 200, np.uint8), loaded))
    assert written.get_data_dtype() == np.uint8
    assert np.asarray(written.dataobj).max() == 200


def test_a_label_picture_holds_indices_and_shows_colours(tmp_path):
    Image.fromarray(ramp(4, 5, 3)).save(tmp_path / "a.png")
    label = ramp(4, 5) % 4
    path = write_label(tmp_path / "b.png", label, read_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(np.array(Image.open(path)), label)
    assert len(np.unique(np.array(Image.open(path).convert("RGB")).reshape(-1, 3), axis=0)) == 4


def test_sheared_axes_stay_in_nifti_and_are_refused_elsewhere(tmp_path):
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.4
    image = nib.Nifti1Image(VOXELS, None)
    image.set_sform(sheared, code=1)
    nib.save(image, tmp_path / "a.nii")
    loaded = read_image(tmp_path / "a.nii")
    label = np.zeros(VOXELS.shape, np.uint8)
    np.testing.assert_allclose(nib.load(write_label(tmp_path / "b.nii", label, loaded)).affine, sheared, atol=1e-6)
    with pytest.raises(ImageFileError, match="sheared"):
        write_label(tmp_path / "b.nrrd", label, loaded)


@pytest.mark.parametrize(
    ("path", "label", "message"),
    [
        ("b.nii", np.zeros((4, 5, 2), np.uint8), "must have the shape of its image"),
        ("b.jpg", np.zeros((4, 5, 3), np.uint8), "the ending must be one of"),
        ("b.png", np.zeros((4, 5, 3), np.uint8), "the ending must be one of"),
        ("b.dcm", np.zeros((4, 5, 3), np.uint8), "needs a DICOM series as input"),
        ("b.nii", np.full((4, 5, 3), 70000), "labels must lie in 0..65535"),
    ],
)
def test_a_label_that_does_not_fit_is_refused_and_nothing_is_left(path, label, message, tmp_path):
    loaded = read_image(save(tmp_path / "a.nii"))
    with pytest.raises(ValueError, match=message):
        write_label(tmp_path / path, label, loaded)
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii"]


def test_probabilities_keep_the_geometry(tmp_path):
    loaded = read_image(save(tmp_path / "a.nii"))
    shares = np.random.default_rng(0).random((2, 4, 5, 3), dtype=np.float32)
    written = nib.load(write_probabilities(tmp_path / "b.nii.gz", shares, loaded))
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.moveaxis(shares, 0, -1))
    with pytest.raises(ValueError, match=r"\.nii\.gz or \.npz"):
        write_probabilities(tmp_path / "b.png", shares, loaded)


# Folders


def test_a_folder_is_listed_through_links_but_not_in_circles(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    save(tmp_path / "in" / "sub" / "a.nii.gz")
    (tmp_path / "elsewhere").mkdir()
    save(tmp_path / "elsewhere" / "b.nii")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "sub" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / ".hidden.nii").touch()
    (tmp_path / "in" / "notes.txt").touch()
    assert [path.name for path in list_inputs(tmp_path / "in")] == ["b.nii", "a.nii.gz"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list_inputs(tmp_path / "nowhere")
