"""What a DICOMweb server holds: its series, their segmentations, fetched and sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX
from monailabel.datastore.utils.dicom import dicom_web_download_series
from pydicom.dataset import Dataset

from amsam_monai.data.files.scratch import scratch
from amsam_monai.label_app.datastore import check_name, safe_name

FETCHED = ".fetch-"  # folders of series that are on their way
NOT_IMAGES = frozenset(
    (
        *("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SR", "PR", "KO", "DOC", "REG", "FID", "ANN", "AU"),
        *("ECG", "HD", "EPS", "PLAN", "OSS", "RWV", "M3D", "STL"),
    )
)


@dataclass(frozen=True)
class DicomWebOptions:
    """What of a DICOMweb server is offered.

    Args:
        modalities: CT, MR ...; all that are images by default.
        search: further attributes that a series must have (PatientID, StudyDescription ...), as QIDO-RS takes them.
        cache_seconds: how long the server's list of series is taken to hold.
    """

    modalities: tuple[str, ...] = ()
    search: Mapping[str, str] = field(default_factory=dict)
    cache_seconds: float = 60.0

    @classmethod
    def of_conf(cls, conf: Mapping[str, str]) -> DicomWebOptions:
        """Options from `modalities` (comma-separated), `search` (JSON) and `cache_seconds` of the app's settings."""
        modalities = tuple(name.strip().upper() for name in conf.get("modalities", "").split(",") if name.strip())
        return cls(modalities, json.loads(conf.get("search") or "{}"), float(conf.get("cache_seconds") or 60))


class DicomWebServer:
    """Series of a DICOMweb server, asked for at most once in `options.cache_seconds`.

    Args:
        url: root of the DICOMweb service.
        options: what is offered.
    """

    def __init__(self, url: str, options: DicomWebOptions | None = None) -> None:
        self.options = options or DicomWebOptions()
        self.client = client_of(url)
        self._lists: dict[str, tuple[float, dict[str, Dataset]]] = {}
        self._references: dict[str, tuple[str, tuple[str, str]]] = {}
        self._lock = threading.RLock()

    def _listed(self, what: str, ask: Callable[[], dict[str, Dataset]]) -> dict[str, Dataset]:
        """A list of the server, at most `cache_seconds` old."""
        with self._lock:
            known = self._lists.get(what)
            if known is None or time.monotonic() - known[0] > self.options.cache_seconds:
                known = self._lists[what] = (time.monotonic(), ask())
            return known[1]

    def _search(self, **filters: str) -> list[Dataset]:
        found = self.client.search_for_series(search_filters=filters, fields=["StudyDescription"], get_remaining=True)
        return [Dataset.from_json(one) for one in found]

    def _find_images(self) -> dict[str, Dataset]:
        wanted = self.options.modalities
        searches = [{"Modality": modality} for modality in wanted] if wanted else [{}]
        found = [one for filters in searches for one in self._search(**self.options.search, **filters)]
        return {
            uid: one
            for one in found
            if (one.get("Modality") in wanted if wanted else one.get("Modality") not in NOT_IMAGES)
            and is_plain(uid := str(one.SeriesInstanceUID))
        }

    def series(self) -> dict[str, Dataset]:
        """What the server says of each series that is offered, by series UID."""
        return self._listed("images", self._find_images)

    def _find_segmentations(self) -> dict[str, Dataset]:
        """The newest segmentation of each series."""
        newest: dict[str, tuple[tuple[str, str], Dataset]] = {}
        for one in self._search(Modality="SEG"):
            image, made = self._reference(str(one.StudyInstanceUID), str(one.SeriesInstanceUID))
            if image and (image not in newest or made >= newest[image][0]):
                newest[image] = (made, one)
        return {image: one for image, (_, one) in newest.items()}

    def _reference(self, study: str, series: str) -> tuple[str, tuple[str, str]]:
        """The series that a segmentation refers to ("" for none), and when it was made; asked once."""
        if series not in self._references:
            found = self.client.retrieve_series_metadata(study, series)
            data = Dataset.from_json(found[0]) if found else Dataset()
            to = data.get("ReferencedSeriesSequence") or [Dataset()]
            made = str(data.get("ContentDate") or ""), str(data.get("ContentTime") or "")
            self._references[series] = str(to[0].get("SeriesInstanceUID") or ""), made
        return self._references[series]

    def segmentations(self) -> dict[str, Dataset]:
        """What the server says of the newest segmentation of each labelled series that is offered, by its UID."""
        known = self.series()
        found = self._listed("segmentations", self._find_segmentations)
        return {image: one for image, one in found.items() if image in known}

    def fetch(self, series: Dataset, folder: Path) -> None:
        """Download a series, whole or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch(FETCHED, folder.parent) as partial:
            dicom_web_download_series(
                str(series.StudyInstanceUID),
                str(series.SeriesInstanceUID),
                f"{partial}/series",
                self.client,
                settings.MONAI_LABEL_DICOMWEB_FETCH_BY_FRAME,
            )
            (partial / "series").rename(folder)

    def send(self, segmentation: Dataset) -> None:
        """Store a segmentation.

        Raises:
            ValueError: the server refuses it.
        """
        answer = self.client.store_instances([segmentation])
        if answer.get("FailedSOPSequence"):
            raise ValueError("the DICOMweb server refused the segmentation; see its log.")
        with self._lock:
            self._lists.pop("segmentations", None)


class PlainUids(DICOMwebClientX):
    """A client that takes no instance whose UID would be a path: files are named by it, and any sender chooses it."""

    def retrieve_series(self, *arguments: Any, **options: Any) -> list[Dataset]:
        """See DICOMwebClient.

        Raises:
            ValueError: a UID that is no plain name.
        """
        found: list[Dataset] = super().retrieve_series(*arguments, **options)
        for one in found:
            check_name("SOPInstanceUID", str(one.SOPInstanceUID))
        return found

    def retrieve_series_metadata(self, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        """See DICOMwebClient.

        Raises:
            ValueError: a UID that is no plain name.
        """
        found: list[dict[str, Any]] = super().retrieve_series_metadata(*arguments, **options)
        for one in found:
            check_name("SOPInstanceUID", str(Dataset.from_json(one).get("SOPInstanceUID", "")))
        return found


def is_plain(uid: str) -> bool:
    """Whether a UID can be the name of a file or a folder, and leads to no other one."""
    return bool(uid) and safe_name(uid) == uid


def client_of(url: str) -> DICOMwebClientX:
    """A client as MONAI Label's settings say (user, password, prefixes); a token for Google's servers."""
    session = None
    if "googleapis.com" in url:
        from dicomweb_client.ext.gcp.session_utils import create_session_from_gcp_credentials

        session = create_session_from_gcp_credentials()
    elif settings.MONAI_LABEL_DICOMWEB_USERNAME and settings.MONAI_LABEL_DICOMWEB_PASSWORD:
        from dicomweb_client.session_utils import create_session_from_user_pass

        session = create_session_from_user_pass(
            settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
        )
    return PlainUids(
        url=url.rstrip("/"),
        session=session,
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
