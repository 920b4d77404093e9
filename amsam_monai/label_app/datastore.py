"""The studies: files of every format that MONAI Label's store takes, and folders of DICOM series."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monailabel.datastore.local import LocalDatastore

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.dicom import is_dicom_folder
from amsam_monai.data.files.images import read_image, read_label

EXTENSIONS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.png", "*.jpg", "*.jpeg", "*.tif", "*.tiff", "*.bmp")


class StudiesDatastore(LocalDatastore):
    """A folder of images and volumes; a folder in it that holds a DICOM series counts as one image.

    Clients download files, so a series is handed out as NIfTI with the same voxels in the same order.

    Args:
        studies: the folder.
        converted: where NIfTI copies of DICOM series are kept.
        options: of `LocalDatastore`.
    """

    def __init__(self, studies: str, converted: str | Path, **options: Any) -> None:
        self.converted = Path(converted)
        super().__init__(studies, extensions=EXTENSIONS, **options)

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        files: dict[str, str] = super()._list_files(path, patterns)
        if os.path.realpath(path) != os.path.realpath(self._datastore.image_path()):
            return files
        for name in sorted(os.listdir(path)):
            folder = Path(path, name)
            if folder.is_dir() and not name.startswith(".") and is_dicom_folder(folder):
                files[name] = name
        return files

    def _to_id(self, file: str) -> tuple[str, str]:
        if os.path.isdir(os.path.join(self._datastore.image_path(), file)):
            return file, ""
        identity, ending = super()._to_id(file)
        return str(identity), str(ending)

    def get_image_uri(self, image_id: str) -> str:
        """The image's file; of a DICOM series a NIfTI copy; "" where there is no such image."""
        uri = str(super().get_image_uri(image_id))
        return self._as_nifti(image_id, Path(uri)) if uri and os.path.isdir(uri) else uri

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """See LocalDatastore.

        Raises:
            ValueError: the id is no plain name, or the file cannot be read.
        """
        check_name("image", image_id)
        read_image(image_filename)
        return str(super().add_image(image_id, image_filename, image_info))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """See LocalDatastore; what is no label map of this image is not kept.

        Raises:
            ValueError: the tag is no plain name, or the file cannot be read or has other dimensions than the image.
        """
        check_name("tag", label_tag)
        if uri := self.get_image_uri(image_id):
            label, image = read_label(label_filename).array, read_image(uri)
            if label.size != int(np.prod(image.spatial_shape)):
                raise ValueError(f"label must have the image's shape {image.spatial_shape}, got {label.shape}.")
        return str(super().save_label(image_id, label_filename, label_tag, label_info))

    def _as_nifti(self, image_id: str, folder: Path) -> str:
        copy = self.converted / f"{image_id}.nii.gz"
        if not copy.is_file() or copy.stat().st_mtime_ns < folder.stat().st_mtime_ns:
            source = read_image(folder)
            volume = nib.Nifti1Image(source.array, source.affine)  # type: ignore[no-untyped-call]
            with whole_file(copy) as partial:
                nib.save(volume, partial)
        return str(copy)


def check_name(what: str, name: str) -> None:
    """Refuse what would be a path in another folder.

    Raises:
        ValueError: it has separators, or is a parent folder.
    """
    if name and (os.path.basename(name) != name or "\\" in name or name in (".", "..")):
        raise ValueError(f"{what} must be a plain name, got {name!r}.")
