"""What a store of MONAI Label keeps, written whole or not at all: a server that was killed must find it again.

A file and what the list of the store says of it are two files. The next list lies beside the old one, with the digest
of the file that it is for, until that file has its place: whoever opens the store after a server was killed takes the
next list or drops it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from monailabel.interfaces.exception import ImageNotFoundException

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.networks.weights.store import digest

logger = logging.getLogger(__name__)

NEXT = ".datastore_next.json"


def keep_image(store: LocalDatastore, image: str, file: str | os.PathLike[str], info: dict[str, Any]) -> None:
    """Put a copy of a file into a store as the image of an id.

    Raises:
        OSError: there is no room, or the folder cannot be written to; the file's final name is told, and what was
            there stays.
    """
    with FileLock(store._lock_file):
        _keep(store, image, None, file, info)


def keep_label(store: LocalDatastore, image: str, file: str | os.PathLike[str], tag: str, info: dict[str, Any]) -> None:
    """Put a copy of a file into a store as the label of an image; the one of before goes, whatever its ending is.

    Raises:
        ImageNotFoundException: there is no such image.
        OSError: as `keep_image`.
    """
    with FileLock(store._lock_file):
        if image not in store._datastore.objects:
            raise ImageNotFoundException(f"Image {image} not found")
        _keep(store, image, tag, file, info)


def take_up(store: LocalDatastore) -> None:
    """Take the next list where its file has its place, else drop it: a server was killed while it kept something."""
    if _next(store).exists():
        with FileLock(store._lock_file):  # who keeps something holds it, so what lies there now is of one that is gone
            _take_up(store)


def write_list(store: LocalDatastore, lock: bool) -> None:
    """Write the list of a store."""
    path = Path(store._datastore_config_path)
    with FileLock(store._lock_file) if lock else nullcontext():
        with whole_file(path) as partial:
            partial.write_text(json.dumps(_content(store._datastore), indent=2, default=str), encoding="utf-8")
        _next(store).unlink(missing_ok=True)  # of a failure; the list says all of it
        store._config_ts = path.stat().st_mtime


def _keep(
    store: LocalDatastore, image: str, tag: str | None, file: str | os.PathLike[str], info: dict[str, Any]
) -> None:
    """Put a copy of a file into a store, and what is known of it into the list."""
    _take_up(store)
    ending = str(store._to_id(os.path.basename(file))[1])
    name = store._filename(image, ending)
    model = DataModel(info={**info, "ts": int(time.time()), "name": name}, ext=ending)
    before = None if tag is None else store._datastore.label(image, tag)
    former = store._filename(image, before.ext) if before is not None and before.ext != ending else None
    listed = store._datastore.model_copy(deep=True)
    _say(listed, image, tag, model)
    folder = os.path.relpath(_folder(store, tag), store._datastore_path)
    waits = {"folder": folder, "name": name, "former": former, "sha256": digest(Path(file))}
    text = json.dumps({**_content(listed), "waits_for": waits}, indent=2, default=str)
    try:
        with whole_file(os.path.realpath(Path(_folder(store, tag), name))) as partial:
            shutil.copyfile(file, partial)
            with whole_file(_next(store)) as part:
                part.write_text(text, encoding="utf-8")
        _say(store._datastore, image, tag, model)
        _take(store, waits)
    except BaseException:
        with suppress(OSError):
            _take_up(store)
        raise


def _take_up(store: LocalDatastore) -> None:
    """`take_up` by whom holds the lock."""
    path = _next(store)
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        waits = content["waits_for"]
        listed = LocalDatastoreModel.model_validate(content)
        file = _waited_for(store, waits, waits["name"])
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s is no list of a store (%s) and is dropped", path.name, type(error).__name__)
        path.unlink()
        return
    if not file.is_file() or digest(file) != waits["sha256"]:
        path.unlink()
        return
    listed.base_path = store._datastore_path
    store._datastore = listed
    _take(store, waits)


def _take(store: LocalDatastore, waits: dict[str, Any]) -> None:
    """Make the next list the list."""
    if waits["former"] is not None:
        _waited_for(store, waits, waits["former"]).unlink(missing_ok=True)
    os.replace(_next(store), store._datastore_config_path)
    store._config_ts = os.stat(store._datastore_config_path).st_mtime


def _waited_for(store: LocalDatastore, waits: dict[str, Any], name: str) -> Path:
    """A file that the next list is about.

    Raises:
        ValueError: it lies elsewhere than in the store.
    """
    parts = Path(waits["folder"], name).parts
    if ".." in parts or os.path.isabs(waits["folder"]) or os.path.basename(name) != name:
        raise ValueError("files of a store must lie in it.")
    return Path(store._datastore_path, *parts)


def _say(listed: LocalDatastoreModel, image: str, tag: str | None, model: DataModel) -> None:
    """Put what is known of a file into a list."""
    if tag is None:
        listed.objects[image] = ImageLabelModel(image=model)
    else:
        listed.objects[image].labels[tag] = model


def _content(listed: LocalDatastoreModel) -> dict[str, Any]:
    return dict(listed.model_dump(exclude={"base_path"}))


def _folder(store: LocalDatastore, tag: str | None) -> str:
    return str(store._datastore.image_path() if tag is None else store._datastore.label_path(tag))


def _next(store: LocalDatastore) -> Path:
    return Path(store._datastore_path, NEXT)
