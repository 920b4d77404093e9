"""Arrays of npz and h5 files: numbers only, of a size that is checked first, and in the file itself."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.files.limits import check_voxels
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage
from amsam_monai.data.files.readers import native

IMAGE_KEYS = ("image", "img", "data", "arr_0")  # npz and h5 of TransUNet, SSL4MIS, MT-UNet; numpy's own default
MOST_HOPS = 16  # links from one to the next in an h5 file
LABEL_KEYS = ("label", "mask", "gt", "seg", "arr_0")


def read_arrays(
    path: Path, *, key: str | None, keys: tuple[str, ...] = IMAGE_KEYS, max_voxels: int | None = None
) -> LoadedImage:
    """One array of an npz or h5 file; volumes, stored slices first there, come out slices last.

    Args:
        path: the file.
        key: name of the array; by default the first of `keys` that the file has.
        keys: usual names.
        max_voxels: see `check_voxels`.
    """
    read = from_npz if path.suffix.lower() == ".npz" else from_h5
    array = native(read(path, key, keys, max_voxels))
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3):
        return LoadedImage(array, "image", path, "array")
    if array.ndim != 3:
        raise ImageFileError(path, f"array must be a slice (H, W) or a volume (D, H, W), got shape {array.shape}.")
    return LoadedImage(np.moveaxis(array, 0, -1), "volume", path, "array", stored_shape=array.shape)


def pick(path: Path, names: Iterable[str], key: str | None, keys: tuple[str, ...]) -> str:
    """The name `key`, or the first of `keys` there is."""
    held = sorted(names)
    name = key or next((one for one in keys if one in held), None)
    if name is None or name not in held:
        raise ImageFileError(path, f"must hold an array named {key or ' or '.join(keys)}, got {held}; name it.")
    return name


def check_numbers(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, limit: int | None) -> None:
    """Refuse texts, objects and complex numbers, and what is too large."""
    if dtype.kind not in "biuf":
        raise ImageFileError(path, f"array {name} must be of numbers, got {dtype}.")
    check_voxels(path, shape, limit)


def from_npz(path: Path, key: str | None, keys: tuple[str, ...], limit: int | None) -> np.ndarray:
    """An array of a zip of npy files; its header is read before its data."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        name = pick(path, names, key, keys)
        with archive.open(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name) as file:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(file)
        check_numbers(path, name, shape, dtype, limit)
    with np.load(path, allow_pickle=False) as loaded:
        array: np.ndarray = loaded[name]
    return array


def from_h5(path: Path, key: str | None, keys: tuple[str, ...], limit: int | None) -> np.ndarray:
    """A dataset of an h5 file that holds its own data."""
    import h5py

    with h5py.File(path, "r") as file:
        name = key if key is not None and "/" in key else pick(path, file, key, keys)
        refuse_links(path, file, name)
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise ImageFileError(path, f"{name} must be an array, got a group; name one of {sorted(dataset)}.")
        check_numbers(path, name, dataset.shape, dataset.dtype, limit)
        return np.asarray(dataset[()])


def refuse_links(path: Path, file: Any, name: str, hops: int = 0) -> None:
    """Refuse a dataset that lies in another file: external links, external storage, virtual datasets.

    Raises:
        ImageFileError: it does, or it is not there, or links lead in a circle.
    """
    import h5py

    place, problem = file, f"array {name} must lie in the file itself, it points to another one; copy it into this one."
    for part in name.strip("/").split("/"):
        link = place.get(part, getlink=True)
        if isinstance(link, h5py.SoftLink):
            if hops == MOST_HOPS:
                raise ImageFileError(path, f"array {name} must lie in the file, its links lead in a circle.")
            return refuse_links(path, file, link.path, hops + 1)
        if isinstance(link, h5py.ExternalLink):
            raise ImageFileError(path, problem)
        if link is None or part not in place:
            raise ImageFileError(path, f"must hold an array named {name}, got {sorted(file)}; name it.")
        place = place[part]
    if isinstance(place, h5py.Dataset) and (
        place.external or (place.is_virtual and any(one.file_name != "." for one in place.virtual_sources()))
    ):
        raise ImageFileError(path, problem)
    return None
