"""What a store of MONAI Label keeps, written whole or not at all: a server that was killed must find it again."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException

from amsam_monai.data.files.atomic import whole_file


def keep_image(store: LocalDatastore, image: str, file: str | os.PathLike[str], info: dict[str, Any]) -> None:
    """Put a copy of a file into a store as the image of an id."""
    with FileLock(store._lock_file):
        kept = _copied(store, image, file, store._datastore.image_path(), info)
        store._datastore.objects[image] = ImageLabelModel(image=kept)
        store._update_datastore_file(lock=False)


def keep_label(store: LocalDatastore, image: str, file: str | os.PathLike[str], tag: str, info: dict[str, Any]) -> None:
    """Put a copy of a file into a store as the label of an image.

    Raises:
        ImageNotFoundException: there is no such image.
    """
    there = store._datastore.objects.get(image)
    if there is None:
        raise ImageNotFoundException(f"Image {image} not found")
    with FileLock(store._lock_file):
        there.labels[tag] = _copied(store, image, file, store._datastore.label_path(tag), info)
        store._update_datastore_file(lock=False)


def _copied(
    store: LocalDatastore, image: str, file: str | os.PathLike[str], folder: str, info: dict[str, Any]
) -> DataModel:
    """Copy a file into a folder of a store under the name of an image; gives what the store's list says of it."""
    ending = str(store._to_id(os.path.basename(file))[1])
    name = store._filename(image, ending)
    copy_whole(file, Path(folder, name))
    return DataModel(info={**info, "ts": int(time.time()), "name": name}, ext=ending)


def copy_whole(source: str | os.PathLike[str], target: Path) -> None:
    """A copy of a file under its final name, whole; a link at that name is followed.

    Raises:
        OSError: there is no room, or the folder cannot be written to; `target` is named, and what was there stays.
    """
    with whole_file(os.path.realpath(target)) as partial:
        shutil.copyfile(source, partial)


def write_list(store: LocalDatastore, lock: bool) -> None:
    """Write the list of a store."""
    path = Path(store._datastore_config_path)
    with FileLock(store._lock_file) if lock else nullcontext(), whole_file(path) as partial:
        content = store._datastore.model_dump(exclude={"base_path"})
        partial.write_text(json.dumps(content, indent=2, default=str), encoding="utf-8")
    store._config_ts = path.stat().st_mtime
