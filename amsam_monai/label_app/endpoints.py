"""Our answers at MONAI Label's addresses: /infer, /train and what is saved beside images and labels."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fastapi import BackgroundTasks, Depends, File, Form, HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool
from monailabel.config import settings
from monailabel.endpoints import datastore as studies
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.train import run as run_all
from monailabel.endpoints.train import run_model
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import remove_file

from amsam_monai.data.files.images import read_image, read_label, write_label
from amsam_monai.label_app.datastore import LONGEST
from amsam_monai.label_app.infer import BACKGROUND

Params = dict[str, Any]


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
    return await run_in_threadpool(answer, background_tasks, request, session_id, file, output)


def answer(
    background_tasks: BackgroundTasks, request: Params, session_id: str, file: UploadFile | None, output: Any
) -> Any:
    """Run a model on an image of the studies, of a session, or in an upload."""
    application = app_instance()
    if file:
        request["file"] = kept_upload(file)
        background_tasks.add_task(remove_file, request["file"])
    elif session_id:
        session = application.sessions().get_session(session_id) if application.sessions() else None
        if session is None:
            raise HTTPException(404, "there is no such session; make one with PUT /session/.")
        request["file"], request["session"] = session.image, session.to_json()
    result = application.infer(request)
    if output == ResultType.dicom_seg:
        result["dicom_seg"] = as_dicom_seg(application, request, result)
        background_tasks.add_task(remove_file, result["dicom_seg"])
    return send_response(application.datastore(), result, output, background_tasks)


def kept_upload(file: UploadFile) -> str:
    """An upload in a temporary file of its own, with its ending."""
    ending = "".join(Path(file.filename or "x.nii.gz").suffixes[-2:])
    with tempfile.NamedTemporaryFile(suffix=ending, delete=False) as kept:
        shutil.copyfileobj(file.file, kept)
    return kept.name


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
    remove_file(result["file"])
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
    await run_in_threadpool(application._trainers[model].check, params or {}, application.datastore())
    return await run_in_threadpool(run_model, model, params, run_sync, enqueue)


async def train_all(
    params: Params | None = None,
    run_sync: bool = False,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN)),
) -> Any:
    """Start training of every bundle, one after another, unless one could only fail."""
    application = app_instance()
    for model, task in application._trainers.items():
        of_model = (params or {}).get(model) or {}
        if not isinstance(of_model, dict):
            raise HTTPException(400, f"{model} must be a JSON object, got {str(of_model)[:80]}.")
        await run_in_threadpool(task.check, of_model, application.datastore())
    return await run_in_threadpool(run_all, params, run_sync)


async def save_label(
    background_tasks: BackgroundTasks,
    image: str,
    params: str = Form("{}"),
    tag: str = DefaultLabelTag.FINAL.value,
    label: UploadFile = File(...),
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR)),
) -> Any:
    """Save a finished label."""
    json_object(params, kept=True)
    check_file_name(label)
    return await run_in_threadpool(studies.save_label, background_tasks, image, params, tag, label, user.username)


async def add_image(
    background_tasks: BackgroundTasks,
    image: str | None = None,
    params: str = Form("{}"),
    file: UploadFile = File(...),
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR)),
) -> Any:
    """Take a new image."""
    json_object(params, kept=True)
    check_file_name(file)
    return await run_in_threadpool(studies.add_image, background_tasks, image, params, file, user.username)


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
