"""Tiny data sets in the layouts of real ones, a few voxels each."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
from PIL import Image

SPACING = np.diag([1.5, 1.5, 8.0, 1.0])


def save_picture(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def picture(path: Path, height: int = 12, width: int = 16) -> Path:
    noise = np.random.default_rng(len(path.name)).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return save_picture(path, noise)


def mask(path: Path, height: int = 12, width: int = 16, value: int = 255) -> Path:
    array = np.zeros((height, width), np.uint8)
    array[height // 4 : height // 2, width // 4 : width // 2] = value
    return save_picture(path, array)


def volume(path: Path, shape=(6, 5, 3), affine=SPACING, dtype=np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(7).integers(-300, 300, shape).astype(dtype)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def labels(path: Path, shape=(6, 5, 3), affine=SPACING, values=(1, 2, 3), dtype=np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(shape, dtype)
    for place, value in enumerate(values):
        array[place % shape[0], place // shape[0] % shape[1], 1] = value
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def acdc_patient(root: Path, patient: str, frames=(1, 12), info: bool = True) -> Path:
    for frame in frames:
        volume(root / patient / f"{patient}_frame{frame:02d}.nii.gz")
        labels(root / patient / f"{patient}_frame{frame:02d}_gt.nii.gz")
    if info:
        (root / patient / "Info.cfg").write_text(f"ED: {frames[0]}\nES: {frames[-1]}\nGroup: NOR\n", encoding="utf-8")
    return root / patient


def synapse_case(root: Path, number: int, values=tuple(range(1, 14))) -> None:
    volume(root / "img" / f"img{number:04d}.nii.gz")
    labels(root / "label" / f"label{number:04d}.nii.gz", values=values)


def array_file(path: Path, keys=("image", "label"), shape=(4, 5), values=(0, 1, 2, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(1).random(shape, dtype=np.float32)
    label = np.resize(np.array(values, np.uint8), shape)
    if path.suffix == ".npz":
        np.savez(path, **{keys[0]: image, keys[1]: label})
    else:
        with h5py.File(path, "w") as file:
            file[keys[0]], file[keys[1]] = image, label
    return path


def isic_pair(root: Path, stem: str = "ISIC_0000001") -> None:
    picture(root / "images" / f"{stem}.jpg")
    mask(root / "labels" / f"{stem}_segmentation.png")
