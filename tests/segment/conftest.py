"""A DICOM series as SimpleITK writes it, and its NIfTI twin."""

import nibabel as nib
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.segment.toy import oblique, phantom, stored_as


@pytest.fixture
def dicom_twin(tmp_path):
    """(folder of the series, path of the same volume as NIfTI)."""
    nifti = tmp_path / "twin.nii.gz"
    nib.save(stored_as(phantom(affine=oblique((12, 10, 6), (0.75, 0.75, 5.0))), "LPS"), nifti)
    folder = tmp_path / "series"
    write_series(sitk.ReadImage(str(nifti)), folder)
    return folder, nifti


def write_series(volume, folder, uid="1.2.826.0.1.3680043.8.498.1"):
    """Write a volume slice by slice; file names run against the slices' order."""
    folder.mkdir(parents=True)
    direction = volume.GetDirection()
    tags = {
        "0008|0060": "CT",
        "0020|000d": f"{uid}.1",
        "0020|000e": f"{uid}.2",
        "0020|0052": f"{uid}.3",
        "0020|0037": "\\".join(str(direction[place]) for place in (0, 3, 6, 1, 4, 7)),
    }
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(volume.GetDepth()):
        slice_ = volume[:, :, number]
        position = volume.TransformIndexToPhysicalPoint((0, 0, number))
        own = {
            "0008|0018": f"{uid}.4.{number + 1}",
            "0020|0032": "\\".join(map(str, position)),
            "0020|0013": str(number + 1),
        }
        for tag, value in {**tags, **own}.items():
            slice_.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{volume.GetDepth() - number:03}.dcm"))
        writer.Execute(slice_)
