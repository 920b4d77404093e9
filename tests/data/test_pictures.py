"""Pictures as people see them: upright, in their own depth, within a limit."""

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from amsam_monai.bit_depth import white
from amsam_monai.data.datasets import DatasetError, read_case
from amsam_monai.data.files.images import ImageFileError, read_image, read_label, write_label
from amsam_monai.data.files.load import picture_tensor
from amsam_monai.data.files.pictures import UPRIGHT
from amsam_monai.data.prepare.prepare import prepare
from amsam_monai.transforms.intensity import Intensity


def scene(rows=20, columns=30):
    """A dark spot near the upper left corner."""
    array = np.full((rows, columns, 3), 200, np.uint8)
    array[2:8, 3:13] = 60
    return array


def save(path, array, orientation=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    Image.fromarray(array).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_a_picture_is_read_as_people_see_it(orientation, ending, tmp_path):
    path = save(tmp_path / f"a{ending}", scene(), orientation)
    with Image.open(path) as picture:
        seen = np.array(ImageOps.exif_transpose(picture))
    loaded = read_image(path)
    np.testing.assert_array_equal(loaded.array, seen)
    assert loaded.notes == ([] if orientation == 1 else [UPRIGHT])
    label = np.zeros(loaded.spatial_shape, np.uint8)
    assert np.array(Image.open(write_label(tmp_path / "label.png", label, loaded))).shape == seen.shape[:2]


@pytest.mark.parametrize("shape", [(20, 30), (30, 30)])
@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("mask_has_tag", [False, True])
def test_a_mask_lies_on_what_people_saw(shape, orientation, mask_has_tag, tmp_path):
    for name in ("a", "b"):
        image = save(tmp_path / "src" / "images" / f"{name}.jpg", scene(*shape), orientation, quality=95)
        with Image.open(image) as picture:
            seen = np.array((picture if mask_has_tag else ImageOps.exif_transpose(picture)).convert("L"))
        mask = ((seen < 130) * 255).astype(np.uint8)
        save(tmp_path / "src" / "labels" / f"{name}.png", mask, orientation if mask_has_tag else None)
    case = read_case(image, tmp_path / "src" / "labels" / "b.png", "binary")
    assert case.image.array[case.label.array > 0].mean() < 70
    prepared = prepare("plain", tmp_path / "src", tmp_path / "out")
    assert any(f"2 of 2 labels belong to an image that is {UPRIGHT}" in note for note in prepared.report["notes"])
    written = read_label(tmp_path / "out" / "labels" / "b.png").array
    assert read_image(image).array[written > 0].mean() < 70


def test_a_mask_of_the_stored_pixels_is_refused_with_the_reason(tmp_path):
    save(tmp_path / "src" / "images" / "a.png", scene(), 6)
    save(tmp_path / "src" / "labels" / "a.png", (scene()[..., 0] < 130).astype(np.uint8) * 255)
    with pytest.raises(DatasetError, match="its label was drawn on the stored pixels: turn it too"):
        prepare("plain", tmp_path / "src", tmp_path / "out")


@pytest.mark.parametrize(("greatest", "bits", "wanted"), [
    (255, None, 255), (256, None, 1023), (1023, None, 1023), (4000, None, 4095), (16383, None, 16383),
    (60000, None, 65535), (900, 12, 4095), (200, 12, 4095), (5000, 12, 16383), (0, None, 255),
])  # fmt: skip
def test_white_is_the_greatest_value_of_the_bits(greatest, bits, wanted):
    assert white(greatest, bits) == wanted


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_picture_of_fewer_bits_is_as_bright_as_its_8_bit_copy(bits, tmp_path):
    eight = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    eight[0, 0] = 255
    deep = np.rint(eight * ((2**bits - 1) / 255)).astype(np.uint16)
    first = picture_tensor(read_image(save(tmp_path / "a.png", eight)))
    again = picture_tensor(read_image(save(tmp_path / "b.png", deep)))
    np.testing.assert_allclose(again.numpy(), first.numpy(), atol=0.5)
    scale = Intensity("bit_depth")
    np.testing.assert_allclose(scale(deep).numpy(), eight / 255, atol=2e-3)


def test_a_file_s_own_word_on_its_bits_counts(tmp_path):
    dark = np.full((4, 5), 300, np.uint16)
    chunk = PngImagePlugin.PngInfo()
    chunk.add(b"sBIT", bytes([12]))
    Image.fromarray(dark).save(tmp_path / "a.png", pnginfo=chunk)
    loaded = read_image(tmp_path / "a.png")
    assert loaded.bits == 12
    assert picture_tensor(loaded).max().item() == pytest.approx(300 * 255 / 4095)


def test_a_picture_beyond_the_limit_is_refused_with_a_way_on(tmp_path):
    path = save(tmp_path / "a.png", scene(100, 200))
    with pytest.raises(ImageFileError, match=r"at most 19999 pixels, got 200 x 100; give --max-pixels 20000 .* tiles"):
        read_image(path, max_pixels=19_999)
    assert read_image(path, max_pixels=20_000).spatial_shape == (100, 200)


def test_a_large_picture_is_opened_whatever_pillow_warns_of(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses beyond twice its limit
    path = save(tmp_path / "a.png", scene())
    assert read_image(path).spatial_shape == (20, 30)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert not [warning for warning in recwarn if "bomb" in str(warning.message)]


def test_formats_beyond_the_allowed_ones_are_never_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(scene()).save(path, format="EPS")
    with pytest.raises(ImageFileError, match="no picture of the formats PNG, JPEG, TIFF, BMP"):
        read_image(path)

    def another_library_s_open(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'pi_heif'", name="pi_heif")

    monkeypatch.setattr(Image, "open", another_library_s_open)
    with pytest.raises(ImageFileError, match="no picture of the formats PNG, JPEG, TIFF, BMP"):
        read_image(path)
