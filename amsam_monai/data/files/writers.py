"""Writing label maps and probabilities in the geometry of the image they belong to, whole files only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.classes import HIGHEST_VALUE
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.dicom.seg import write_dicom_seg
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, is_sheared
from amsam_monai.data.files.palette import class_colours
from amsam_monai.data.files.readers import LPS_TO_RAS, SPACING_UNKNOWN, ItkGeometry

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".nrrd", ".mha")
PICTURE_SUFFIXES = (".png", ".tif", ".tiff")
LABEL_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES, *PICTURE_SUFFIXES, ".dcm")
DEFAULT_SUFFIXES = (".png", ".nii.gz", ".dcm")  # what `label_suffix` gives


def label_suffix(source: LoadedImage) -> str:
    """Ending of a label map by default: .png for an image, .dcm for DICOM whose spacing is known, else .nii.gz."""
    if source.kind == "image":
        return ".png"
    return ".dcm" if source.format == "dicom" and source.spacing_mm is not None else ".nii.gz"


def write_label(
    path: str | Path,
    label: np.ndarray,
    source: LoadedImage,
    labels: Mapping[int, str] | None = None,
    *,
    dtype: np.dtype | None = None,
    compress: bool = True,
) -> Path:
    """Write a label map in its image's geometry; the ending chooses the format.

    NIfTI keeps affine, spacing, direction, qform and sform codes, units, byte order and version of a NIfTI input, and
    the voxel type where that is an integer that holds the labels (8 bits otherwise, 16 for values above 255). A picture
    gets a palette, its pixels are label values.

    Args:
        path: .nii, .nii.gz, .nrrd, .mha, .png, .tif, or .dcm for DICOM-SEG.
        label: class indices, or values that stand for them; 0 background.
        source: the image, as `read_image` gave it.
        labels: names by value, needed for DICOM-SEG.
        dtype: voxel type of a volume, where not as above; of a picture 16 bits where it has more than 8.
        compress: whether NRRD and MetaImage are compressed.

    Shape: label is source.spatial_shape.

    Raises:
        ValueError: the label does not fit the image, or the ending does not fit its kind.
    """
    path = Path(path)
    if label.shape != source.spatial_shape:
        raise ValueError(f"label must have the shape of its image, {source.spatial_shape}, got {label.shape}.")
    dtype = dtype or label_dtype(label, source)
    name = path.name.lower()
    with whole_file(path) as temporary:
        if name.endswith(NIFTI_SUFFIXES) and source.kind == "volume":
            write_nifti(temporary, label.reshape(nifti_shape(source)), source, dtype)
        elif name.endswith(ITK_SUFFIXES) and source.kind == "volume":
            write_itk(temporary, label.astype(dtype, copy=False), source, compress=compress)
        elif name.endswith(PICTURE_SUFFIXES) and (is_flat(source) or name.endswith((".tif", ".tiff"))):
            write_picture(temporary, as_picture(label, source), deep=dtype.itemsize > 1)
        elif name.endswith(".dcm"):
            write_dicom_seg(temporary, label, source, labels or {int(i): f"label {i}" for i in np.unique(label) if i})
        else:
            known = PICTURE_SUFFIXES if is_flat(source) else (*NIFTI_SUFFIXES, *ITK_SUFFIXES, ".tif", ".dcm")
            raise ValueError(f"{path}: the ending must be one of {' '.join(known)} for this input; choose one.")
    return path


def is_flat(source: LoadedImage) -> bool:
    """Whether this is a picture, or one DICOM slice."""
    return source.kind == "image" or (source.format == "dicom" and source.array.shape[2] == 1)


def as_picture(label: np.ndarray, source: LoadedImage) -> np.ndarray:
    """Rows first where the volume is DICOM's, whose first axis counts columns; one slice without its axis."""
    if source.kind == "volume" and source.format == "dicom":
        label = label.swapaxes(0, 1)
    return label[..., 0] if label.ndim == 3 and label.shape[2] == 1 else label


def write_probabilities(path: str | Path, probabilities: np.ndarray, source: LoadedImage) -> Path:
    """Write class probabilities: NIfTI with classes last for a volume, npz (key `probabilities`) for an image.

    Shape: probabilities (K+1, H, W) or (K+1, I, J, K).
    """
    path = Path(path)
    with whole_file(path) as temporary:
        if path.name.lower().endswith(NIFTI_SUFFIXES):
            write_nifti(temporary, np.moveaxis(probabilities, 0, -1), source, np.dtype(np.float32))
        elif path.name.lower().endswith(".npz"):
            np.savez_compressed(temporary, probabilities=probabilities)
        else:
            raise ValueError(f"{path}: the ending must be .nii.gz or .npz; choose one.")
    return path


def label_dtype(label: np.ndarray, source: LoadedImage) -> np.dtype:
    """The stored voxel type of the image where it is an integer that holds every label, else 8 bits, or 16."""
    highest = int(label.max(initial=0))
    if highest > HIGHEST_VALUE or int(label.min(initial=0)) < 0:
        raise ValueError(f"labels must lie in 0..{HIGHEST_VALUE}, got {int(label.min())}..{highest}.")
    stored = source.header.get_data_dtype() if source.format == "nifti" else source.array.dtype
    if source.kind == "volume" and source.format in ("nifti", "itk") and stored.kind in "iu" and stored.itemsize <= 4:
        rescaled = source.array.dtype.kind == "f"
        if not rescaled and highest <= np.iinfo(stored).max:
            return stored.newbyteorder("=")
    return np.dtype(np.uint8 if highest <= 255 else np.uint16)


def nifti_shape(source: LoadedImage) -> tuple[int, ...]:
    """Shape to store: that of a NIfTI input, trailing axes of length 1 and all."""
    return source.stored_shape if source.format == "nifti" else source.spatial_shape


def write_nifti(path: Path, array: np.ndarray, source: LoadedImage, dtype: np.dtype) -> None:
    """Write a NIfTI file with a NIfTI input's own transforms, or the affine as scanner coordinates.

    Voxels are converted to `dtype` slice by slice, as they are written.
    """
    import nibabel as nib

    if source.format == "nifti":
        header = source.header.copy()
        header.extensions.clear()  # may hold a patient's data
        blank_header(header)
        header.set_data_dtype(dtype.newbyteorder(header.endianness))
        header.set_data_shape(array.shape)
        image: Any = (nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image)(array, None, header)
        image.header["pixdim"] = source.header["pixdim"]
        if source.notes:  # transforms that differ: both are what the image is read by
            image.set_qform(source.header.get_sform(), int(header["qform_code"]), strip_shears=True)
    else:
        image = nib.Nifti1Image(array, source.affine if source.affine is not None else np.eye(4))
        image.set_data_dtype(dtype)
        image.header.set_xyzt_units("mm")
        if source.affine is not None:
            image.set_qform(source.affine, code=0 if is_sheared(source.affine) else 1, strip_shears=True)
            image.set_sform(source.affine, code=1)
    if source.affine is not None and source.spacing_mm is None:
        image.header["descrip"] = SPACING_UNKNOWN.encode()
    nib.save(image, path)


def blank_header(header: Any) -> None:
    """Take out what describes the image and not its geometry: free text, display range, rescaling."""
    for text in ("descrip", "aux_file", "intent_name", "db_name"):
        if text in header:
            header[text] = b""
    header["cal_max"] = header["cal_min"] = 0
    header["intent_code"] = 0
    header["scl_slope"], header["scl_inter"] = np.nan, np.nan


def write_itk(path: Path, label: np.ndarray, source: LoadedImage, *, compress: bool = True) -> None:
    """Write NRRD or MetaImage."""
    import SimpleITK as sitk  # noqa: N813

    flat = isinstance(source.header, ItkGeometry) and len(source.stored_shape) == 2
    array = label[..., 0] if flat else label
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    geometry = source.header if isinstance(source.header, ItkGeometry) else itk_geometry(source)
    if geometry is not None:
        image.SetSpacing(geometry.spacing[: array.ndim])
        image.SetOrigin(geometry.origin[: array.ndim])
        image.SetDirection(geometry.direction)
    if source.affine is not None and source.spacing_mm is None:
        image.SetMetaData("Description", SPACING_UNKNOWN)
    sitk.WriteImage(image, str(path), useCompression=compress)


def itk_geometry(source: LoadedImage) -> ItkGeometry | None:
    """SimpleITK's geometry from the affine of a NIfTI file; None where there is no affine."""
    if source.affine is None:
        return None
    lps = LPS_TO_RAS @ source.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if is_sheared(source.affine):
        raise ImageFileError(source.path, "axes are sheared, which NRRD and MetaImage cannot hold; write NIfTI.")
    return ItkGeometry(tuple(spacing.tolist()), tuple(lps[:3, 3].tolist()), tuple(direction.ravel().tolist()))


def write_picture(path: Path, label: np.ndarray, *, deep: bool = False) -> None:
    """Write label values with a palette: viewers show colours, arrays hold the values; a volume becomes pages.

    Values above 255, or `deep`, make a grey picture of 16 bits.
    """
    from PIL import Image

    deep = deep or int(label.max(initial=0)) > 255
    pages = [label] if label.ndim == 2 else [label[..., index] for index in range(label.shape[-1])]
    pictures = []
    for page in pages:
        picture = Image.fromarray(np.ascontiguousarray(page, dtype=np.uint16 if deep else np.uint8))
        if not deep:
            picture.putpalette(class_colours().ravel().tolist())
        pictures.append(picture)
    if len(pictures) > 1:
        pictures[0].save(path, save_all=True, append_images=pictures[1:])
    else:
        pictures[0].save(path)
