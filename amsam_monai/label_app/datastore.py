"""The studies: files of every format that MONAI Label's store takes, and folders of DICOM series."""

from __future__ import annotations

import filecmp
import hashlib
import json
import logging
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
from monailabel.datastore.local import LocalDatastore

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.dicom.folders import is_dicom_folder
from amsam_monai.data.files.images import LoadedImage, label_suffix, read_image, write_label
from amsam_monai.label_app.kept_files import keep_image, keep_label, take_up, write_list
from amsam_monai.label_app.saved_labels import HIGHEST, listed, read_saved_label, value_names

logger = logging.getLogger(__name__)

EXTENSIONS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.png", "*.jpg", "*.jpeg", "*.tif", "*.tiff", "*.bmp")
UNSAFE = re.compile(r"[\\/:*?\"<>|\x00-\x1f]+")
LONGEST = 160  # bytes of a name, so that endings and marks of temporary files fit


class StudiesDatastore(LocalDatastore):
    """A folder of images and volumes; a folder in it that holds a DICOM series counts as one image.

    Clients download files, so a series is handed out as NIfTI with the same voxels in the same order.

    Args:
        studies: the folder.
        converted: where NIfTI copies of DICOM series are kept.
        highest: value that a label may hold.
        options: of `LocalDatastore`.
    """

    def __init__(self, studies: str, converted: str | Path, *, highest: int = HIGHEST, **options: Any) -> None:
        self.converted, self.highest = Path(converted), highest
        super().__init__(studies, extensions=EXTENSIONS, **options)

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        listed = super()._list_files(path, patterns)
        files = {name: file for name, file in listed.items() if not name.startswith(".")}  # hidden: half-written
        if os.path.realpath(path) != os.path.realpath(self._datastore.image_path()):
            return files
        for name in sorted(os.listdir(path)):
            folder = Path(path, name)
            if folder.is_dir() and not name.startswith(".") and is_dicom_folder(folder):
                files[name] = name
        return self._one_for_each_id(files)

    def _one_for_each_id(self, files: dict[str, str]) -> dict[str, str]:
        """Files of which no two have one id; the one that the list has stays, else the first by name."""
        found: dict[str, str] = {}
        for name in sorted(files):
            identity, _ = self._to_id(name)
            known = self._datastore.objects.get(identity)
            if identity not in found or (known and self._filename(identity, known.image.ext) == name):
                found[identity] = name
        for name in sorted(set(files) - set(found.values())):
            logger.warning("%s is left out: the image %s has its id; rename one", name, found[self._to_id(name)[0]])
        return {name: files[name] for name in found.values()}

    def _to_id(self, file: str) -> tuple[str, str]:
        if os.path.isdir(os.path.join(self._datastore.image_path(), file)):
            return file, ""
        ending = str(super()._to_id(file)[1])
        return file.removesuffix(ending), ending  # MONAI Label takes it out wherever it stands

    def get_image_uri(self, image_id: str) -> str:
        """The image's file; of a DICOM series a NIfTI copy; "" where there is no such image."""
        image_id = self.known_id(image_id)
        uri = str(super().get_image_uri(image_id))
        return self._as_nifti(image_id, Path(uri)) if uri and os.path.isdir(uri) else uri

    def series_folder(self, image_id: str) -> Path | None:
        """The folder of an image that is a DICOM series."""
        folder = Path(super().get_image_uri(self.known_id(image_id)) or os.devnull)
        return folder if folder.is_dir() else None

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """See LocalDatastore; `name` and `path` are of a file that clients can load, for a DICOM series too."""
        info: dict[str, Any] = super().get_image_info(self.known_id(image_id))
        if self.series_folder(image_id):
            info["path"] = self.get_image_uri(image_id)
            info["name"] = os.path.basename(info["path"])
        return info

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """See LocalDatastore."""
        super().update_image_info(self.known_id(image_id), info)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """See LocalDatastore; an id that no file can have, such as one with a slash, is made safe.

        Raises:
            ValueError: the file cannot be read, or another image has this id.
        """
        read_image(image_filename, alone=True)
        if not self.get_image_uri(image_id):
            self.refresh()  # it may have come into the folder since
        if there := self.get_image_uri(image_id):
            if filecmp.cmp(there, image_filename, shallow=False):
                return self.known_id(image_id)
            raise ValueError(f"an id must be that of one image, {image_id[:80]!r} is another's; choose another id.")
        image_id = self.known_id(image_id)
        keep_image(self, image_id, image_filename, image_info)
        return image_id

    def remove_image(self, image_id: str) -> None:
        """See LocalDatastore."""
        super().remove_image(self.known_id(image_id))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """See LocalDatastore; what is no label map of this image is not kept.

        Raises:
            ValueError: the tag is no plain name, the file cannot be read or lies elsewhere than the image, or
                `label_info` does not name its values, or a value is too high.
        """
        check_name("tag", label_tag)
        image_id = self.known_id(image_id)
        if uri := self.get_image_uri(image_id):
            image = read_image(uri)
            label, names = read_saved_label(label_filename, image, value_names(label_info), highest=self.highest)
            if names is not None:
                label_info = {**label_info, "label_info": listed(names)}
            if label_filename.endswith((".bin", ".seg.nrrd", ".dcm")):
                with TemporaryDirectory() as folder:
                    path = write_label(Path(folder, "label").with_suffix(label_suffix(image)), label, image)
                    keep_label(self, image_id, path, label_tag, label_info)
                    return image_id
        keep_label(self, image_id, label_filename, label_tag, label_info)
        return image_id

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """See LocalDatastore."""
        return str(super().get_label_uri(self.known_id(label_id), label_tag))

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """See LocalDatastore."""
        return dict(super().get_label_info(self.known_id(label_id), label_tag))

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """See LocalDatastore; names that are none are refused."""
        value_names(info)
        super().update_label_info(self.known_id(label_id), label_tag, info)

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """See LocalDatastore.

        Raises:
            FileNotFoundError: nothing is labelled.
        """
        try:
            return str(super().get_dataset_archive(limit_cases))
        except AssertionError as error:
            raise FileNotFoundError("no image has a label yet; label one and save it first.") from error

    def known_id(self, image_id: str) -> str:
        """The id as it is where the store has it, else made safe: clients go on using the one that they sent."""
        return image_id if image_id in self._datastore.objects else safe_name(image_id)

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        super()._init_from_datastore_file(throw_exception)
        take_up(self)

    def _update_datastore_file(self, lock: bool = True) -> None:
        write_list(self, lock)

    def _as_nifti(self, image_id: str, folder: Path) -> str:
        copy, note = self.converted / f"{image_id}.nii.gz", self.converted / f".{image_id}.json"
        state = state_of(folder)  # compared, not put in order: the clock may have been set back
        if not copy.is_file() or not note.is_file() or note.read_text(encoding="utf-8") != state:
            with whole_file(copy) as partial:
                write_copy(partial, read_image(folder))
            with whole_file(note) as partial:
                partial.write_text(state, encoding="utf-8")
        return str(copy)


def state_of(folder: Path) -> str:
    """What changes whenever a file of a folder does: names, sizes and times, as JSON."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return json.dumps([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files])


def write_copy(path: Path, source: LoadedImage) -> Path:
    """A DICOM series as NIfTI, the same voxels in the same order."""
    nib.save(nib.Nifti1Image(source.array, source.affine), path)  # type: ignore[no-untyped-call]
    return path


def safe_name(name: str) -> str:
    """A name that a file can have: a plain one as it is, else cleaned, cut, and marked so that no two become one."""
    plain = os.path.basename(name) == name and not UNSAFE.search(name) and not name.startswith(".")
    if not name or (plain and len(name.encode()) <= LONGEST):
        return name
    cleaned = UNSAFE.sub("_", name).strip("._ ").encode()[: LONGEST - 9].decode(errors="ignore")
    return f"{cleaned or 'image'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check_name(what: str, name: str) -> None:
    """Refuse what would be a path in another folder.

    Raises:
        ValueError: it has separators, is a parent folder, or is too long for a file.
    """
    if name and safe_name(name) != name:
        raise ValueError(f"{what} must be a plain name of at most {LONGEST} bytes, got {name[:80]!r}.")
