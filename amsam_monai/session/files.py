"""A session on disk: the label map, and beside it the prompts as JSON."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amsam_monai.data.classes import Classes
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_label, stem_of, write_label
from amsam_monai.session.edits import ClassEdits
from amsam_monai.session.history import pack, unpack

if TYPE_CHECKING:
    from amsam_monai.session.session import InteractiveSession

FORMAT = 1
SUFFIX = ".session.json"
NO_SESSION = (  # what reading something else ends in
    AttributeError,
    KeyError,
    TypeError,
    OverflowError,
    RecursionError,
    UnicodeDecodeError,
    json.JSONDecodeError,
    zlib.error,
)


def sidecar_of(path: Path) -> Path:
    """Where the session of a label map lies."""
    return path.with_name(stem_of(path) + SUFFIX)


def save_session(session: InteractiveSession, path: Path) -> Path:
    """Write label map and sidecar, each whole or not at all; gives the label map's path."""
    classes = session.classes
    write_label(path, classes.written(session.label), session.image.source, classes.written_names)
    with whole_file(sidecar_of(path)) as temporary:
        temporary.write_text(json.dumps(state_of(session, path.name), indent=1), encoding="utf-8")
    return path


def state_of(session: InteractiveSession, label_file: str) -> dict[str, Any]:
    """The session as plain values."""
    painted = {
        str(number): base64.b64encode(pack(marks.astype("<i2"))).decode()
        for number, marks in sorted(session.opened.painted.items())
    }
    return {
        "format": FORMAT,
        "image": session.image.source.path.name,
        "shape": list(session.image.source.spatial_shape),
        "labels": {str(index): name for index, name in session.labels.items()},
        "label_values": {name: session.classes.values[index] for index, name in session.labels.items()},
        "label_file": label_file,
        "slice_axis": session.slice_axis,
        "segmented": sorted(session.results),
        "slices": {
            str(number): {session.labels[index]: edit.to_json() for index, edit in sorted(edits.items())}
            for number, edits in sorted(session.edits.items())
        },
        **({"painted": painted} if painted else {}),
    }


def restore_session(session: InteractiveSession, path: str | Path) -> None:
    """Bring prompts and masks of a saved session into an open one.

    Raises:
        FileNotFoundError: the sidecar or its label map is not there.
        ValueError: it is no session, or of another image or other classes.
    """
    path = Path(path)
    path = path if path.name.endswith(SUFFIX) else sidecar_of(path)
    try:
        _restore(session, path, json.loads(path.read_text(encoding="utf-8")))
    except NO_SESSION as error:
        raise ValueError(f"{path}: is no saved session ({error!r}); choose a file that ends in {SUFFIX}.") from error


def _restore(session: InteractiveSession, path: Path, state: Any) -> None:
    shape, labels, axis = tuple(state["shape"]), state["labels"], state["slice_axis"]
    values = {int(index): state.get("label_values", {}).get(name, int(index)) for index, name in labels.items()}
    own = {str(index): name for index, name in session.labels.items()}
    if shape != session.image.source.spatial_shape or axis != session.slice_axis or labels != own:
        raise ValueError(
            f"{path}: was saved for an image of {shape}, slices along axis {axis} and labels {labels}; this one has "
            f"{session.image.source.spatial_shape}, axis {session.slice_axis} and {own}. Open the image it belongs to."
        )
    edits = {
        session.image.check_slice(int(number)): {
            session.label_index(name): ClassEdits.from_json(facts, session.image) for name, facts in classes.items()
        }
        for number, classes in state["slices"].items()
    }
    painted = {
        session.image.check_slice(int(number)): _painted(session, path, packed)
        for number, packed in state.get("painted", {}).items()
    }
    saved = path.with_name(state["label_file"])
    if not saved.name.endswith(".dcm"):
        stored = Classes.of(session.labels, values=values)
        session.label[...] = stored.read(read_label(saved).array.reshape(session.label.shape))
    session.edits.update(edits)
    session.opened.painted.update(painted)
    if saved.name.endswith(".dcm"):  # a DICOM-SEG says less than we need: compute what was there again
        session.segment([session.image.check_slice(number) for number in state["segmented"]])


def _painted(session: InteractiveSession, path: Path, packed: str) -> np.ndarray:
    """What was painted in a slice. Shape (H, W), int16."""
    try:
        marks = unpack(base64.b64decode(packed, validate=True), session.image.slice_hw, np.int16)
    except ValueError as error:
        raise ValueError(f"{path}: what was painted cannot be read ({error}); save the session anew.") from error
    most = max(int(marks.max()), -int(marks.min()))
    if most > len(session.labels):
        raise ValueError(f"{path}: painted classes must be 1 to {len(session.labels)}, got {most}.")
    return marks
