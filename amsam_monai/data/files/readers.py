"""One reader per family of formats, each giving a `LoadedImage`."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, check_affine, spacing_of

IMAGE_KEYS = ("image", "img", "data", "arr_0")  # npz and h5 of TransUNet, SSL4MIS, MT-UNet; numpy's own default
LABEL_KEYS = ("label", "mask", "gt", "seg", "arr_0")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACING_UNKNOWN = "spacing unknown"  # how a label map says that its image's lengths of 1 mean nothing
UNIT_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}


def read_nifti(path: Path) -> LoadedImage:
    """A NIfTI volume; a trailing axis of length 1 is dropped and remembered, a series in time is refused."""
    import nibabel as nib

    file: Any = nib.load(path)
    if not isinstance(file, nib.Nifti1Pair):
        raise ImageFileError(path, f"must be a NIfTI file, got {type(file).__name__}; convert it.")
    stored_shape = file.shape
    shape = three_axes(path, stored_shape)
    if file.get_data_dtype().kind not in "biuf":
        raise ImageFileError(path, f"voxels must be single numbers, got {file.get_data_dtype()}; split its channels.")
    proxy: Any = file.dataobj
    rescaled = (proxy.slope, proxy.inter) != (1, 0)
    stored = file.get_fdata("unchanged", np.float32) if rescaled else np.asanyarray(proxy)
    array = native(stored).reshape(shape, order="F")
    affine = check_affine(path, file.affine)
    spacing = spacing_of(affine)
    header = file.header
    if not (header["qform_code"] or header["sform_code"]) and np.allclose(header["pixdim"][1:4], 1):
        spacing = None  # no transform at all, and voxel sizes left at their default
    if header["descrip"].item() == SPACING_UNKNOWN.encode():
        spacing = None
    factor = UNIT_MM.get(header.get_xyzt_units()[0], 1.0)
    spacing = None if spacing is None else tuple(length * factor for length in spacing)
    return LoadedImage(array, "volume", path, "nifti", affine, spacing, stored_shape, header.copy())


class ItkGeometry(NamedTuple):
    """Geometry in SimpleITK's words (LPS millimetres), kept so that a label map repeats it to the last digit."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


def read_itk(path: Path) -> LoadedImage:
    """A NRRD or MetaImage volume, or a single DICOM file."""
    import SimpleITK as sitk  # noqa: N813

    return from_itk(sitk.ReadImage(str(path)), path, "itk")


def from_itk(image: Any, path: Path, form: str) -> LoadedImage:
    """SimpleITK's image as ours: axes in the order i, j, k, affine to RAS."""
    import SimpleITK as sitk  # noqa: N813

    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        return colour_from_itk(array, path, form)
    array = array.transpose()  # (k, j, i) -> (i, j, k)
    shape = three_axes(path, array.shape)
    affine = check_affine(path, itk_affine(image))
    loaded = LoadedImage(array.reshape(shape), "volume", path, form, affine, spacing_of(affine), array.shape)
    loaded.header = ItkGeometry(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    if "Description" in image.GetMetaDataKeys() and image.GetMetaData("Description") == SPACING_UNKNOWN:
        loaded.spacing_mm = None
    return loaded


def colour_from_itk(array: np.ndarray, path: Path, form: str) -> LoadedImage:
    """One colour frame as a picture; anything else with several numbers per voxel is refused."""
    frame: np.ndarray | None = array.reshape(array.shape[-3:]) if array.size == np.prod(array.shape[-3:]) else None
    if frame is None or frame.shape[-1] not in (3, 4):
        raise ImageFileError(path, f"voxels must be single numbers, got an array {array.shape}; split its components.")
    return LoadedImage(np.ascontiguousarray(frame[..., :3]), "image", path, form)


def itk_affine(image: Any) -> np.ndarray:
    """Voxel index to RAS millimetres of a SimpleITK image, 2D ones lying at z = 0."""
    dims = min(image.GetDimension(), 3)
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:dims, :dims]
    affine = np.eye(4)
    affine[:dims, :dims] = direction * np.array(image.GetSpacing()[:dims])
    affine[:dims, 3] = image.GetOrigin()[:dims]
    return LPS_TO_RAS @ affine


def three_axes(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(I, J, K) of a stored shape; axes of length 1 come and go, a longer fourth axis is refused."""
    if len(shape) > 3 and int(np.prod(shape[3:])) != 1:
        raise ImageFileError(
            path,
            f"must be a volume of three axes, got shape {tuple(shape)}; split the series into one file per time point "
            "or channel (nibabel: four_to_three; FSL: fslsplit) and segment those.",
        )
    if len(shape) < 2 or 0 in shape:
        raise ImageFileError(path, f"must hold at least one slice of two axes, got shape {tuple(shape)}.")
    rows, columns, depth = [*shape[:3], 1][:3]
    return rows, columns, depth


def read_picture(path: Path, *, indices: bool = False) -> LoadedImage:
    """A PNG, JPG or TIF as (H, W) or (H, W, 3) in its own depth; several grey pages of one size become a volume.

    Args:
        path: the file.
        indices: give a palette's indices, as a label wants, instead of its colours.
    """
    from PIL import Image

    with Image.open(path) as picture:
        pages = int(getattr(picture, "n_frames", 1))
        if deep_colour(path, picture):
            return read_deep_colour(path)
        first = pixels(picture, indices)
        if pages == 1 or path.suffix.lower() not in (".tif", ".tiff"):
            return LoadedImage(first, "image", path, "picture")
        frames = [first]
        for page in range(1, pages):
            picture.seek(page)
            frames.append(pixels(picture, indices))
    frames = [frame for frame in frames if frame.shape == first.shape]  # thumbnails of the first page are left out
    if len(frames) == 1:
        return LoadedImage(first, "image", path, "picture")
    if first.ndim > 2:
        raise ImageFileError(path, f"pages must be grey to form a volume, got {pages} in colour; split the file.")
    return LoadedImage(np.stack(frames, axis=-1), "volume", path, "picture")


def pixels(picture: Any, indices: bool) -> np.ndarray:
    """Pixels of one page: grey stays grey, transparency is dropped, palettes and CMYK become RGB."""
    mode = picture.mode
    if mode in ("P", "PA"):
        return np.array(picture) if indices and mode == "P" else np.array(picture.convert("RGB"))
    if mode == "1":
        return np.array(picture, dtype=np.uint8) if indices else np.array(picture.convert("L"))
    if mode in ("L", "I", "F") or mode.startswith("I;16"):
        return native(np.array(picture))
    return np.array(picture.convert("L" if mode in ("LA", "La") else "RGB"))


def deep_colour(path: Path, picture: Any) -> bool:
    """Whether this is 16-bit colour, which Pillow would cut to 8 bits."""
    if picture.format == "PNG":
        with open(path, "rb") as file:
            depth, colour = struct.unpack(">BB", file.read(26)[24:26])
        return depth == 16 and colour in (2, 6)
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, (8,))
        return len(bits) > 2 and max(bits) > 8
    return False


def read_deep_colour(path: Path) -> LoadedImage:
    """A picture with 16 bits per colour, alpha dropped."""
    import SimpleITK as sitk  # noqa: N813

    return colour_from_itk(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), path, "picture")


def read_arrays(path: Path, *, key: str | None, keys: tuple[str, ...] = IMAGE_KEYS) -> LoadedImage:
    """One array of an npz or h5 file; volumes, stored slices first there, come out slices last.

    Args:
        path: the file.
        key: name of the array; by default the first of `keys` that the file has.
        keys: usual names.
    """
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as file:
            array = pick(path, file, key, keys)
    else:
        import h5py

        with h5py.File(path, "r") as file:
            array = pick(path, file, key, keys)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3):
        return LoadedImage(array, "image", path, "array")
    if array.ndim != 3:
        raise ImageFileError(path, f"array must be a slice (H, W) or a volume (D, H, W), got shape {array.shape}.")
    return LoadedImage(np.moveaxis(array, 0, -1), "volume", path, "array", stored_shape=array.shape)


def pick(path: Path, file: Mapping[str, Any], key: str | None, keys: tuple[str, ...]) -> np.ndarray:
    """The array called `key`, or the first of `keys` there is."""
    name = key or next((name for name in keys if name in file), None)
    if name is None or name not in file:
        raise ImageFileError(path, f"must hold an array named {key or ' or '.join(keys)}, got {sorted(file)}; name it.")
    array = native(np.asarray(file[name]))
    if array.dtype.kind not in "biuf":
        raise ImageFileError(path, f"array {name} must be of numbers, got {array.dtype}.")
    return array


def native(array: np.ndarray) -> np.ndarray:
    """The array in this machine's byte order; rescaled voxels (float64) as float32; booleans as uint8."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype == np.float64 or array.dtype.itemsize > 8 or array.dtype == np.float16:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
