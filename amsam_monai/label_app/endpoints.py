"""Our answers at MONAI Label's addresses: /infer, /train and what is saved beside images and labels."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import BackgroundTasks, Depends, File, Form, HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool
from monailabel.config import settings
from monailabel.endpoints import activelearning
from monailabel.endpoints import datastore as studies
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.train import run as run_all
from monailabel.endpoints.train import run_model
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import remove_file

from amsam_monai.data.files.images import read_image, read_label, stem_of, write_label
from amsam_monai.label_app.client_sessions import session_of
from amsam_monai.label_app.datastore import LONGEST
from amsam_monai.label_app.infer import BACKGROUND
from amsam_monai.label_app.lane import Lane
from amsam_monai.label_app.training import TrainOptions

Params = dict[str, Any]
GPUS = re.compile(r"all|\d+(,\d+)*")
LANE = Lane.of_environment()


def json_object(text: str | None, name: str = "params", *, kept: bool = False) -> Params:
    """What a client wrote into a form's field.

    Args:
        text: the field.
        name: its name.
        kept: it goes into the list of the studies, which NaN and Infinity would make unreadable.

    Raises:
        HTTPException: 400, it is no JSON object.
    """
    try:
        value = json.loads(text or "{}", parse_constant=_no_number if kept else None)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"{name} must be a JSON object ({error}).") from error
    if not isinstance(value, dict):
        raise HTTPException(400, f"{name} must be a JSON object, got {str(value)[:80]}.")
    return value


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def check_file_name(file: UploadFile | None) -> None:
    """Refuse a name that no file can have: its ending goes to a temporary one.

    Raises:
        HTTPException: 400, it is too long.
    """
    name = (file.filename or "") if file else ""
    if len(name.encode()) > LONGEST:
        raise HTTPException(400, f"a file's name must have at most {LONGEST} bytes, got {name[:40]!r}...")


async def infer(
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: str = Form("{}"),
    file: UploadFile = File(None),
    label: UploadFile = File(None),
    output: ResultType | None = None,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)),
) -> Any:
    """Run a model, in a thread of its own."""
    if not file and not image and not session_id:
        raise HTTPException(400, "give an image id, a session id or a file.")
    check_file_name(file)
    request = {**json_object(params), "model": model, "image": image, "file": None}
    return await LANE.run(answer, background_tasks, request, session_id, file, output)


def answer(
    background_tasks: BackgroundTasks, request: Params, session_id: str, file: UploadFile | None, output: Any
) -> Any:
    """Run a model on an image of the studies, of a session, or in an upload."""
    application = app_instance()
    if session_id and not file:
        opened = session_of(application, session_id)
        request["file"], request["session"] = opened.image, opened.to_json()
    with upload(file) as path:
        if path is not None:
            request["file"] = str(path)
        result = application.infer(request)
    if output == ResultType.dicom_seg:
        try:
            result["dicom_seg"] = as_dicom_seg(application, request, result)
        finally:
            remove_file(result["file"])
        background_tasks.add_task(remove_file, result["dicom_seg"])
    return send_response(application.datastore(), result, output, background_tasks)


@contextmanager
def upload(file: UploadFile | None) -> Iterator[Path | None]:
    """An upload as a file of its ending while the block runs, with nothing beside it that it could point to."""
    if file is None:
        yield None
        return
    ending = "".join(Path(file.filename or "x.nii.gz").suffixes[-2:])
    with TemporaryDirectory(prefix="amsam-upload-") as folder:
        path = Path(folder, f"upload{ending}")
        with path.open("wb") as kept:
            shutil.copyfileobj(file.file, kept)
        yield path


def as_dicom_seg(application: Any, request: Params, result: Params) -> str:
    """An answer as DICOM-SEG, each value under the name that the answer gives it.

    Raises:
        HTTPException: 400, the image is no DICOM series.
    """
    store = application.datastore()
    folder = None if request["file"] else getattr(store, "series_folder", lambda _: None)(request["image"])
    if folder is None:
        raise HTTPException(400, "output=dicom_seg needs an image that is a DICOM series; ask for output=image.")
    source, label = read_image(folder), read_label(result["file"]).array
    named = {int(value): name for name, value in result["params"]["label_names"].items()}
    known = application._infers[request["model"]].labels
    classes = {value: name for name, value in known.items() if name != BACKGROUND} if isinstance(known, dict) else {}
    labels = classes if named.items() <= classes.items() and classes else named
    with tempfile.NamedTemporaryFile(suffix=".dcm", delete=False) as kept:
        path = write_label(kept.name, label.reshape(source.spatial_shape), source, labels)
    return str(path)


async def train(
    model: str,
    params: Params | None = None,
    run_sync: bool = False,
    enqueue: bool = False,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN)),
) -> Any:
    """Start training, unless it could only fail."""
    application = app_instance()
    if model not in application._trainers:
        raise HTTPException(404, f"model must be one of {', '.join(application._trainers)}, got {model!r}.")
    known = known_options(params or {})
    await run_in_threadpool(application._trainers[model].check, known, application.datastore())
    return await run_in_threadpool(run_model, model, known, run_sync, enqueue)


async def train_all(
    params: Params | None = None,
    run_sync: bool = False,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN)),
) -> Any:
    """Start training of every bundle, one after another, unless one could only fail."""
    application, known = app_instance(), {}
    for model, task in application._trainers.items():
        of_model = (params or {}).get(model) or {}
        if not isinstance(of_model, dict):
            raise HTTPException(400, f"{model} must be a JSON object, got {str(of_model)[:80]}.")
        known[model] = known_options(of_model)
        await run_in_threadpool(task.check, known[model], application.datastore())
    return await run_in_threadpool(run_all, known, run_sync)


def known_options(params: Params) -> Params:
    """What a training takes of a client's request; the rest would go with it into the process's command line.

    Raises:
        ValueError: a value that is none.
    """
    gpus = params.get("gpus") or "all"
    if not (isinstance(gpus, str) and GPUS.fullmatch(gpus)):
        raise ValueError(f"gpus must be all or numbers such as 0,1, got {str(gpus)[:80]!r}.")
    return {**asdict(TrainOptions.of_request(params)), "gpus": gpus}


async def save_label(
    image: str,
    params: str = Form("{}"),
    tag: str = DefaultLabelTag.FINAL.value,
    label: UploadFile = File(...),
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR)),
) -> Any:
    """Save a finished label."""
    info = json_object(params, kept=True)
    check_file_name(label)
    return await run_in_threadpool(keep_label, image, label, tag or DefaultLabelTag.FINAL.value, by(info, user))


def keep_label(image: str, label: UploadFile, tag: str, info: Params) -> Params:
    """Put a label that a client sent into the studies."""
    application = app_instance()
    with upload(label) as path:
        kept = application.datastore().save_label(image, str(path), tag, info)
    return {**(application.on_save_label(image, kept) or {}), "image": image, "label": kept}


async def add_image(
    image: str | None = None,
    params: str = Form("{}"),
    file: UploadFile = File(...),
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR)),
) -> Any:
    """Take a new image."""
    info = json_object(params, kept=True)
    check_file_name(file)
    return await run_in_threadpool(keep_image, image or stem_of(Path(file.filename or "image")), file, by(info, user))


def keep_image(image: str, file: UploadFile, info: Params) -> Params:
    """Put an image that a client sent into the studies."""
    with upload(file) as path:
        return {"image": app_instance().datastore().add_image(image, str(path), info)}


def by(info: Params, user: User) -> Params:
    """What is kept beside an image or a label, with who sent it, where the server knows."""
    return {**info, "user": user.username} if user.username else info


async def next_sample(
    strategy: str,
    params: Params | None = None,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)),
) -> Any:
    """Say which image comes next, in a thread of its own: it may look at many."""
    return await LANE.run(activelearning.sample, strategy, params, user.username)


async def image_file(image: str, user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))) -> Any:
    """Hand an image out, in a thread of its own: a series may have to be fetched and written as NIfTI."""
    return await run_in_threadpool(studies.download_image, image)


async def label_file(label: str, tag: str, user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))) -> Any:
    """Hand a label out, in a thread of its own."""
    return await run_in_threadpool(studies.download_label, label, tag)


async def image_info(
    image: str, info: str = Form("{}"), user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
) -> Any:
    """Change what is known of an image."""
    json_object(info, "info", kept=True)
    return studies.update_image_info(image, info, user.username)


async def label_info(
    label: str, tag: str, info: str = Form("{}"), user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
) -> Any:
    """Change what is known of a label."""
    json_object(info, "info", kept=True)
    return studies.update_label_info(label, tag, info, user.username)
