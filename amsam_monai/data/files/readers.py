"""One reader per family of formats, each giving a `LoadedImage`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, check_affine, spacing_of

IMAGE_KEYS = ("image", "img", "data", "arr_0")  # npz and h5 of TransUNet, SSL4MIS, MT-UNet; numpy's own default
LABEL_KEYS = ("label", "mask", "gt", "seg", "arr_0")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACING_UNKNOWN = "spacing unknown"  # how a label map says that its image's lengths of 1 mean nothing
FORMS_APART = 0.1  # voxels by which a NIfTI file's two transforms may differ unsaid
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
    loaded = LoadedImage(array, "volume", path, "nifti", affine, spacing, stored_shape, header.copy())
    if (apart := forms_apart(header, shape)) > FORMS_APART * float(np.linalg.norm(affine[:3, :3], axis=0).min()):
        loaded.notes.append(
            f"sform and qform lie up to {apart:.3g} mm apart; the sform counts, viewers that take the qform show the "
            "image elsewhere"
        )
    return loaded


def forms_apart(header: Any, shape: tuple[int, int, int]) -> float:
    """How far the corners of a NIfTI volume lie apart by its two transforms; 0 where it has one alone.

    A qform holds no shear, which is not counted.
    """
    if not (header["qform_code"] and header["sform_code"]):
        return 0.0
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape], [1])).reshape(4, -1)
    rigid = header.copy()
    rigid.set_qform(header.get_sform(), code=1, strip_shears=True)
    return float(np.linalg.norm(((header.get_qform() - rigid.get_qform()) @ corners)[:3], axis=0).max())


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
