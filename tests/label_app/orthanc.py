"""A real Orthanc with its DICOMweb plug-in (Debian's orthanc and orthanc-dicomweb), for tests."""

import contextlib
import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.label_app.serving import free_port, requests

PLUGINS = Path("/usr/share/orthanc/plugins")


@contextlib.contextmanager
def orthanc(root):
    """A running Orthanc with an empty store below `root`; gives the address of its DICOMweb service."""
    if shutil.which("Orthanc") is None or not list(PLUGINS.glob("libOrthancDicomWeb*")):
        pytest.skip("needs Debian's orthanc and orthanc-dicomweb")
    port = free_port()
    settings = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(root / "orthanc"),
        "IndexDirectory": str(root / "orthanc"),
        "Plugins": [str(path) for path in PLUGINS.glob("libOrthancDicomWeb*")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (root / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with open(root / "orthanc.log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(["Orthanc", str(root / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(240):
                time.sleep(0.5)
                assert process.poll() is None, (root / "orthanc.log").read_text(encoding="utf-8")[-2000:]
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(f"{url}/dicom-web/studies", timeout=30).ok:
                        break
            yield f"{url}/dicom-web"
        finally:
            process.terminate()
            process.wait()


def send(url, folder):
    """Store a folder's files over DICOMweb's neighbour, Orthanc's own REST."""
    for path in sorted(folder.iterdir()):
        answer = requests.post(url.replace("/dicom-web", "/instances"), data=path.read_bytes(), timeout=600)
        assert answer.ok, answer.text


def write_mr_ball(folder, centre, patient, number):
    """Seven MR slices with a bright ball, stored as uint16; gives the ball (I, J, K) and the series' UID."""
    grid = np.mgrid[:40, :36, :7].astype(float)
    ball = sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, (1, 1, 3), strict=True)) < 110
    volume = sitk.GetImageFromArray((100 * ball + grid[0] % 5).astype(np.uint16).transpose())
    volume.SetSpacing((1.5, 1.5, 6.0))
    volume.SetOrigin((10.0, -20.0, 5.0))
    folder.mkdir(parents=True)
    uid = f"1.2.826.0.1.3680043.8.498.77.{number}"
    slices = sitk.GetArrayFromImage(volume)
    for at in range(7):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{uid}.4.{at + 1}"
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = f"{uid}.1", f"{uid}.2", f"{uid}.3"
        data.Modality, data.PatientID, data.PatientName, data.StudyDescription = "MR", patient, patient, "heart"
        data.Rows, data.Columns, data.InstanceNumber = 36, 40, at + 1
        data.ImagePositionPatient = [10, -20, 5 + 6 * at]
        data.ImageOrientationPatient, data.PixelSpacing, data.SliceThickness = [1, 0, 0, 0, 1, 0], [1.5, 1.5], 6
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.PixelData = slices[at].tobytes()
        data.is_little_endian, data.is_implicit_VR = True, False
        data.save_as(folder / f"{at}.dcm", write_like_original=False)
    return ball, f"{uid}.2"
