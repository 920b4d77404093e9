"""One reader per family of formats, each giving a `LoadedImage`."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from amsam_monai.data.files.itk_headers import check_itk_file, check_packed
from amsam_monai.data.files.limits import MAX_REST, check_rest, check_voxels
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, check_affine, spacing_of

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACING_UNKNOWN = "spacing unknown"  # how a label map says that its image's lengths of 1 mean nothing
FORMS_APART = 0.1  # voxels by which a NIfTI file's two transforms may differ unsaid
MOST_DEFLATED = 1100  # times that deflate can shorten a file
PIECE = 1 << 20
LARGEST_VOXEL = 8  # bytes of one number
UNIT_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}


def read_nifti(path: Path, max_voxels: int | None = None) -> LoadedImage:
    """A NIfTI volume; a trailing axis of length 1 is dropped and remembered, a series in time is refused.

    Args:
        path: the file.
        max_voxels: see `check_voxels`.
    """
    with nifti_file(path) as file:
        stored_shape = file.shape
        shape = three_axes(path, stored_shape)
        dtype = file.get_data_dtype()
        if dtype.kind not in "biuf":
            raise ImageFileError(path, f"voxels must be single numbers, got {dtype}; split its channels.")
        check_voxels(path, shape, max_voxels)
        if int(np.prod(shape)) * dtype.itemsize > MOST_DEFLATED * path.stat().st_size:
            raise ImageFileError(path, f"declares {shape} voxels, more than it can hold; it is damaged or truncated.")
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


@contextmanager
def nifti_file(path: Path) -> Iterator[Any]:
    """nibabel's image of a file; of a gzip file, the checksum is compared when its voxels have been read."""
    import nibabel as nib

    kinds = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else open(path, "rb") as stream:
        start = stream.read(540)
        size = start[:4]
        known = (kinds[number] for order in ("little", "big") if (number := int.from_bytes(size, order)) in kinds)
        kind = next(known, nib.Nifti1Image)
        check_offset(path, kind, start)
        if not packed:
            file: Any = nib.load(path)
            if not isinstance(file, nib.Nifti1Pair):
                raise ImageFileError(path, f"must be a NIfTI file, got {type(file).__name__}; convert it.")
            yield file
            return
        stream.seek(0)
        yield kind.from_stream(stream)
        rest = 0
        while piece := stream.read(PIECE):  # to the end, where gzip's checksum is
            check_rest(path, rest := rest + len(piece))


def check_offset(path: Path, kind: Any, start: bytes) -> None:
    """Refuse a NIfTI header that puts more than MAX_REST bytes before its voxels, which would be read as extensions."""
    header = kind.header_class
    if len(start) >= header.sizeof_hdr:
        offset = header(start[: header.sizeof_hdr], check=False)["vox_offset"]
        if not 0 <= offset <= MAX_REST:
            raise ImageFileError(path, f"voxels must begin within {MAX_REST} bytes, got {offset}; it is damaged.")


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


def read_itk(path: Path, max_voxels: int | None = None, *, alone: bool = False) -> LoadedImage:
    """A NRRD or MetaImage volume.

    Args:
        path: the file; its voxels lie in it or beside it.
        max_voxels: see `check_voxels`.
        alone: refuse voxels beside it.
    """
    return from_itk(open_itk(path, max_voxels, alone=alone).Execute(), path, "itk")


def open_itk(path: Path, max_voxels: int | None = None, *, alone: bool = False) -> Any:
    """SimpleITK's reader of a file whose header has been read and checked."""
    import SimpleITK as sitk  # noqa: N813

    voxels = check_itk_file(path, alone=alone)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(voxels.reader)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    shape = (*reader.GetSize(), reader.GetNumberOfComponents())
    check_voxels(path, shape, max_voxels)
    check_packed(path, voxels, LARGEST_VOXEL * math.prod(shape))
    return reader


def from_itk(image: Any, path: Path, form: str) -> LoadedImage:
    """SimpleITK's image as ours: axes in the order i, j, k, affine to RAS."""
    import SimpleITK as sitk  # noqa: N813

    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        return colour_from_itk(array, path, form)
    if array.dtype.kind not in "biuf":
        raise ImageFileError(path, f"voxels must be single numbers, got {array.dtype}; give magnitude or phase.")
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


def native(array: np.ndarray) -> np.ndarray:
    """The array in this machine's byte order; rescaled voxels (float64) as float32; booleans as uint8."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype == np.float64 or array.dtype.itemsize > 8 or array.dtype == np.float16:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
