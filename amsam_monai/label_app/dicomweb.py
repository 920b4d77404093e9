"""A DICOMweb server as studies: series are read, labels go back to it as DICOM-SEG."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from pydicom import dcmread

from amsam_monai.data.classes import HIGHEST_VALUE
from amsam_monai.data.files.images import read_image, write_label
from amsam_monai.data.files.scratch import remove_leftovers
from amsam_monai.label_app.datastore import check_name, write_copy
from amsam_monai.label_app.dicomweb_server import FETCHED, DicomWebOptions, DicomWebServer
from amsam_monai.label_app.kept_files import keep_image, keep_label, take_up, write_list
from amsam_monai.label_app.saved_labels import HIGHEST, listed, read_saved_label, value_names

logger = logging.getLogger(__name__)

SHOWN = ("StudyDate", "StudyTime", "Modality", "PatientID", "StudyInstanceUID", "StudyDescription", "SeriesDescription")


class DicomWebStore(DICOMWebDatastore):
    """Series of a DICOMweb server, by series UID; a label is the newest DICOM-SEG that refers to the series.

    Series are kept as files, with a NIfTI copy for the network, below `cache`. A SEG of any maker is read into the
    series' voxels.

    Args:
        url: root of the DICOMweb service.
        cache: folder; one below it for each server.
        options: what is offered.
        highest: value that a label may hold.
    """

    def __init__(
        self, url: str, cache: str | Path, options: DicomWebOptions | None = None, *, highest: int = HIGHEST
    ) -> None:
        self.highest = highest
        self.server = DicomWebServer(url, options)
        self._client = self.server.client
        folder = Path(cache) / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._locks: dict[str, threading.RLock] = {}
        self._lock = threading.RLock()
        LocalDatastore.__init__(self, str(folder), auto_reload=False)
        remove_leftovers(FETCHED, self._datastore.image_path())

    def list_images(self) -> list[str]:
        """UIDs of the series that are offered."""
        return list(self.server.series())

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Those with a segmentation."""
        return list(self.server.segmentations())

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Those without."""
        labelled = self.server.segmentations()
        return [image for image in self.server.series() if image not in labelled]

    def get_image_uri(self, image_id: str) -> str:
        """A NIfTI copy with the series' voxels in its order; "" for a series that is not offered."""
        if image_id not in self.server.series():
            return ""
        copy = Path(self._datastore.image_path()) / f"{image_id}.nii.gz"
        with self._locked(image_id):
            if not copy.is_file():
                source = read_image(self.series_folder(image_id))
                with TemporaryDirectory() as folder:
                    made = write_copy(Path(folder) / copy.name, source)
                    keep_image(self, image_id, made, {})
        return str(copy)

    def series_folder(self, image_id: str) -> Path:
        """The series' files, fetched where they are not there yet."""
        folder = Path(self._datastore.image_path()) / image_id
        with self._locked(image_id):
            if not folder.is_dir():
                self.server.fetch(self.server.series()[image_id], folder)
        return folder

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What clients show of a series, and a file name to save it under."""
        about = self.server.series().get(image_id)
        if about is None:
            return {}
        info: dict[str, Any] = LocalDatastore.get_image_info(self, image_id)
        info |= {keyword: str(about.get(keyword, "UNK")) for keyword in SHOWN}
        patient = about.get("PatientID")
        return info | {
            "SeriesInstanceUID": image_id,
            "RetrieveURL": str(about.get("RetrieveURL", "UNK")),
            "name": f"{image_id}.nii.gz",
            **({"patient_id": str(patient)} if patient else {}),
        }

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """The label map's file; the final one is that of the server's newest segmentation, "" where there is none."""
        if label_tag != DefaultLabelTag.FINAL:
            return str(LocalDatastore.get_label_uri(self, label_id, label_tag))
        image = image_id or label_id
        newest = self.server.segmentations().get(image)
        if newest is None:
            return ""
        with self._locked(image):
            kept = LocalDatastore.get_label_info(self, image, label_tag)
            path = str(LocalDatastore.get_label_uri(self, image, label_tag))
            if kept.get("SeriesInstanceUID") == newest.SeriesInstanceUID and Path(path).is_file():
                return path
            source = read_image(self.series_folder(image))
            with TemporaryDirectory() as folder:
                self.server.fetch(newest, Path(folder) / "seg")
                label, names = read_saved_label(only_file(Path(folder) / "seg"), source, highest=HIGHEST_VALUE)
            self._keep(image, label, label_tag, label_info_of(names or {}, str(newest.SeriesInstanceUID)))
            return str(LocalDatastore.get_label_uri(self, image, label_tag))

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Beside the label; of the final one the name of each value."""
        if label_tag == DefaultLabelTag.FINAL:
            self.get_label_uri(label_id, label_tag)
        return dict(LocalDatastore.get_label_info(self, label_id, label_tag))

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs of files to train on; a segmentation that does not fit its series is left out."""
        pairs = []
        for image in self.server.segmentations():
            try:
                label = self.get_label_uri(image, DefaultLabelTag.FINAL)
                pairs.append({"image": self.get_image_uri(image), "label": label})
            except ValueError as error:
                logger.warning("%s is left out: %s", image, error)
        return pairs

    def status(self) -> dict[str, Any]:
        """Numbers of series, labelled ones, and labels of each kind."""
        tags = {
            **LocalDatastore.status(self)["label_tags"],
            DefaultLabelTag.FINAL.value: len(self.server.segmentations()),
        }
        return {"total": len(self.server.series()), "completed": len(self.server.segmentations()), "label_tags": tags}

    def json(self) -> dict[str, Any]:
        """All series that are offered, fetched or not."""
        about = dict(LocalDatastore.json(self))
        known, labelled = about["objects"], self.server.segmentations()
        about["objects"] = {}
        for image in self.server.series():
            labels = dict(known.get(image, {}).get("labels", {}))
            labels.pop(DefaultLabelTag.FINAL, None)
            if image in labelled:
                final = {"ext": ".nii.gz", "info": {"SeriesInstanceUID": str(labelled[image].SeriesInstanceUID)}}
                labels[DefaultLabelTag.FINAL.value] = final
            about["objects"][image] = {
                "image": {"ext": ".nii.gz", "info": self.get_image_info(image)},
                "labels": labels,
            }
        return about

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], label_id: str = ""
    ) -> str:
        """Keep a label; a final one goes to the server as DICOM-SEG, each value under its own name.

        Raises:
            FileNotFoundError: no such series.
            ValueError: a tag that is no plain name, a label of another geometry, values without a name, or a server
                that refuses it.
        """
        check_name("tag", label_tag)
        if image_id not in self.server.series():
            raise FileNotFoundError(f"image must be one of the server's series, got {image_id[:80]!r}.")
        source = read_image(self.series_folder(image_id))
        label, names = read_saved_label(label_filename, source, value_names(label_info), highest=self.highest)
        self.get_image_uri(image_id)  # the copy that the label is kept beside
        if label_tag == DefaultLabelTag.FINAL:
            names = names or {int(value): f"label {value}" for value in np.unique(label) if value}
            if not names:
                raise ValueError("label_info must name the classes of a label that is empty, got none.")
            with TemporaryDirectory() as folder:
                segmentation = dcmread(write_label(Path(folder) / "label.dcm", label, source, names))
            self.server.send(segmentation)
            label_info = {**label_info, **label_info_of(names, str(segmentation.SeriesInstanceUID))}
        with self._locked(image_id):
            self._keep(image_id, label, label_tag, label_info)
        return image_id

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refuse: a series is sent to the DICOMweb server, not to this one.

        Raises:
            ValueError: always.
        """
        raise ValueError("images must be sent to the DICOMweb server as DICOM; it is where they are listed from.")

    def remove_image(self, image_id: str) -> None:
        """Refuse: series belong to the DICOMweb server.

        Raises:
            ValueError: always.
        """
        raise ValueError("images must be removed on the DICOMweb server, which holds them.")

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        super()._init_from_datastore_file(throw_exception)
        take_up(self)

    def _update_datastore_file(self, lock: bool = True) -> None:
        write_list(self, lock)

    def _locked(self, image: str) -> threading.RLock:
        with self._lock:
            return self._locks.setdefault(image, threading.RLock())

    def _keep(self, image: str, label: np.ndarray, tag: str, info: Mapping[str, Any]) -> None:
        """Write a label map beside the copy of its image."""
        source = read_image(Path(self._datastore.image_path()) / f"{image}.nii.gz")
        with TemporaryDirectory() as folder:
            path = write_label(Path(folder) / "label.nii.gz", label, source)
            keep_label(self, image, path, tag, dict(info))


def label_info_of(names: Mapping[int, str], series: str) -> dict[str, Any]:
    """What is kept beside a label that the server has as a SEG series."""
    return {
        "label_info": listed(names),
        "SeriesInstanceUID": series,
        "Modality": "SEG",
    }


def only_file(folder: Path) -> Path:
    """The file of a segmentation's series.

    Raises:
        ValueError: there are several.
    """
    files = sorted(folder.iterdir())
    if len(files) != 1:
        raise ValueError(f"a series of segmentations must hold one object, got {len(files)}.")
    return files[0]
