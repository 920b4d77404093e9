"""Outlines drawn by people: LabelMe's files beside the pictures, and COCO's one file for all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.datasets.cases import Case, Listing, Problem, files_in, folders_below
from amsam_monai.data.files.images import format_of, stem_of
from amsam_monai.data.files.loaded_image import ImageFileError

DEPTH = 2
SHAPES = ("polygon", "rectangle", "circle")  # of LabelMe that have an inside


def is_annotation(path: Path) -> bool:
    """Whether a label is a file of outlines."""
    return path.suffix.casefold() == ".json"


def find_annotations(root: Path, channel: int | None = None) -> Listing | None:
    """Pictures with LabelMe's or COCO's outlines; None where there are none."""
    files = (
        [root]
        if root.is_file()
        else [folder / name for folder in folders_below(root, DEPTH) for name in files_in(folder)]
    )
    kinds = {file: kind for file in files if is_annotation(file) and (kind := kind_of(file)) is not None}
    if not kinds:
        return None
    listing = Listing("own", {}, [])
    coco = [file for file, kind in kinds.items() if kind == "coco"]
    if len(coco) > 1 or (coco and len(kinds) > len(coco)):
        listing.problems.append(
            Problem(root, f"annotations must be one COCO file, found {len(kinds)} files; choose one.")
        )
    elif coco:
        _add_coco(listing, coco[0])
    else:
        _add_labelme(listing, list(kinds))
    return listing


def kind_of(path: Path) -> str | None:
    """ "coco", "labelme" or None."""
    try:
        content = _content(path, path.stat().st_mtime_ns)
    except (ValueError, OSError):
        return None
    if not isinstance(content, dict):
        return None
    if {"images", "annotations", "categories"} <= content.keys():
        return "coco"
    return "labelme" if {"shapes", "imagePath"} <= content.keys() else None


@lru_cache(maxsize=4)
def _content(path: Path, changed: int) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _add_coco(listing: Listing, path: Path) -> None:
    content = _content(path, path.stat().st_mtime_ns)
    listing.labels = {place: str(one["name"]) for place, one in enumerate(_categories(content), start=1)}
    drawn = {entry["image_id"] for entry in content["annotations"]}
    folders = [path.parent, *(path.parent / name for name in ("images", "train", "../images"))]
    for entry in content["images"]:
        image = next(
            (folder / entry["file_name"] for folder in folders if (folder / entry["file_name"]).is_file()), None
        )
        if image is None:
            listing.problems.append(Problem(path.parent / entry["file_name"], f"no such file; {path.name} names it."))
        elif entry["id"] in drawn:
            key = stem_of(image)
            listing.cases.append(Case(image, path, key, key, None, "named"))
    if len(listing.cases) < len(content["images"]) and not listing.problems:
        listing.notes.append(f"{len(content['images']) - len(listing.cases)} pictures without outlines were left out")


def _categories(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Categories that outlines use, by id: their places are the label values."""
    used = {entry["category_id"] for entry in content["annotations"]}
    return sorted((one for one in content["categories"] if one["id"] in used), key=lambda one: one["id"])


def _add_labelme(listing: Listing, files: list[Path]) -> None:
    names: list[str] = []
    for path in files:
        content = _content(path, path.stat().st_mtime_ns)
        image = path.parent / str(content["imagePath"]).replace("\\", "/")
        if not image.is_file():  # it was renamed, or moved with its file
            beside = [path.parent / name for name in files_in(path.parent) if stem_of(name) == path.stem]
            image = next((one for one in beside if format_of(one) == "picture"), image)
        if not image.is_file():
            listing.problems.append(Problem(path, f"must lie beside its picture {image.name}, found none."))
            continue
        names += [str(shape["label"]) for shape in content["shapes"]]
        listing.cases.append(Case(image, path, path.stem, path.stem, None, "named"))
    listing.labels = dict(enumerate(sorted(set(names)), start=1))


def read_annotations(path: Path, image: Path, shape_hw: tuple[int, ...], labels: Mapping[int, str]) -> np.ndarray:
    """The outlines of a picture as class values; where outlines overlap, the later one counts.

    Args:
        path: LabelMe's or COCO's file.
        image: the picture.
        shape_hw: its rows and columns.
        labels: value -> name.

    Raises:
        ImageFileError: an outline of a class that `labels` lacks, or one that is damaged.
        ImportError: pycocotools is not installed.

    Shape: -> (H, W), uint8
    """
    values = {name: value for value, name in labels.items()}
    content = _content(path, path.stat().st_mtime_ns)
    mask = np.zeros((shape_hw[0], shape_hw[1]), np.uint8)
    shapes = _labelme_shapes(content) if "shapes" in content else _coco_shapes(content, image)
    for name, outline in shapes:
        if name not in values:
            raise ImageFileError(path, f"outlines must be of {', '.join(values)}, got {name!r}.")
        try:
            mask[_inside(outline, mask.shape)] = values[name]
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise ImageFileError(path, f"an outline of {name!r} for {image.name} is damaged ({error}).") from error
    return mask


def _coco_shapes(content: Mapping[str, Any], image: Path) -> list[tuple[str, Any]]:
    names = {one["id"]: str(one["name"]) for one in content["categories"]}
    ids = {one["id"] for one in content["images"] if Path(one["file_name"]).name == image.name}
    return [
        (names[one["category_id"]], one["segmentation"]) for one in content["annotations"] if one["image_id"] in ids
    ]


def _labelme_shapes(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (str(shape["label"]), [_polygon(shape)])
        for shape in content["shapes"]
        if shape.get("shape_type", "polygon") in SHAPES
    ]


def _polygon(shape: Mapping[str, Any]) -> list[float]:
    """Corners of a shape, x and y in turn."""
    points = np.asarray(shape["points"], float)
    if shape.get("shape_type") == "rectangle":
        (x1, y1), (x2, y2) = points
        points = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    elif shape.get("shape_type") == "circle":  # its centre, and a point on it
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angles), np.sin(angles)], 1)
    return [float(value) for value in points.reshape(-1)]


def _inside(outline: Any, shape_hw: tuple[int, ...]) -> np.ndarray:
    """Pixels inside polygons, or of run lengths, as COCO has both."""
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise ImportError(
            "outlines of LabelMe and COCO need pycocotools, which is not installed; pip install pycocotools"
        ) from error
    height, width = shape_hw[0], shape_hw[1]
    if isinstance(outline, Mapping):
        runs = outline if isinstance(outline["counts"], str | bytes) else coco.frPyObjects(outline, height, width)
    else:
        runs = coco.merge(coco.frPyObjects([list(map(float, one)) for one in outline], height, width))
    return np.asarray(coco.decode(runs)).astype(bool)
