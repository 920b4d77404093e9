"""Files of objects: a table of each image's, and all of a run in COCO's format."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_image
from amsam_monai.evaluation.report import cell
from amsam_monai.segment.instances import Instances

if TYPE_CHECKING:
    from amsam_monai.segment.segmenter import SegmentedImage

MAP, TABLE = "_instances", "_instances.csv"  # behind the name of the label map
PICTURE = ("x", "y", "width", "height")
VOLUME = ("i", "j", "k", "size_i", "size_j", "size_k")


def write_table(result: SegmentedImage, path: str | Path) -> Path:
    """Write a line for each object: id, class, size, box, score and quality; an empty field is no value.

    Sizes are in pixels and mm2, of a volume in voxels and ml.

    The box of a picture is x, y, width and height in pixels; of a volume i, j, k of its first voxel, and its size.

    Args:
        result: with instances.
        path: a CSV file.
    """
    instances = _of(result)
    volume = result.source.kind == "volume"
    one = result.source.voxel_ml if volume else result.source.pixel_mm2
    names = ["id", "class", "voxels" if volume else "pixels", "ml" if volume else "mm2"]
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*names, *(VOLUME if volume else PICTURE), "score", "quality"])
        for row in instances.rows:
            sizes = [stop - start for start, stop in zip(row.start, row.stop, strict=True)]
            box = [*row.start, *sizes] if volume else [*row.start[::-1], *sizes[::-1]]
            size = "" if one is None else f"{row.voxels * one:.6g}"
            name, quality = result.labels[row.index], "" if row.quality is None else row.quality
            table.writerow([row.id, cell(name), row.voxels, size, *box, row.score, quality])
    return Path(path)


def write_coco(
    images: Iterable[tuple[Path, Path, Path]], labels: Mapping[int, str], path: str | Path, *, root: Path | None = None
) -> Path:
    """Write pictures and their objects as COCO's JSON, outlines as compressed run lengths.

    Args:
        images: of each picture its file, its map of objects and its table, as `amsam segment --instances` writes them.
        labels: names of the classes by index, which are the categories.
        path: a JSON file.
        root: folder that names of files are told from; names alone by default.

    Raises:
        ImportError: pycocotools is not installed.
        ValueError: a volume, for which COCO has no form.
    """
    mask = _pycocotools("mask")
    numbers = {name: index for index, name in labels.items()}
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": index, "name": name} for index, name in labels.items()],
    }
    for number, (image, objects, table) in enumerate(images, start=1):
        numbered = read_image(objects).array
        if numbered.ndim != 2:
            raise ValueError(f"{image} must be a picture for COCO's format, got a volume; leave --coco out.")
        name = image.name if root is None else image.relative_to(root).as_posix()
        height, width = numbered.shape
        content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        for row in read_table(table):
            outline = mask.encode(np.asfortranarray(numbered == row["id"], dtype=np.uint8))
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": numbers[row["class"]],
                    "segmentation": {"size": outline["size"], "counts": outline["counts"].decode("ascii")},
                    "area": row["pixels"],
                    "bbox": [row[side] for side in PICTURE],
                    "iscrowd": 0,
                    "score": row["score"],
                }
            )
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    return Path(path)


def read_table(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a table that `write_table` wrote: numbers as such, None for no value.

    Raises:
        ValueError: another table.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [
            {name: value.removeprefix("'") if name == "class" else _number(value) for name, value in row.items()}
            for row in rows
            if int(row["id"]) > 0 and row["class"] and float(row["score"]) >= 0
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must be a table of objects with id, class and score, as `amsam segment --instances` writes it."
        ) from error


def _number(text: str) -> int | float | None:
    if not text:
        return None
    return float(text) if "." in text or "e" in text else int(text)


def _of(result: SegmentedImage) -> Instances:
    if result.instances is None:
        raise ValueError("objects were not told apart; call the segmenter with instances=True.")
    return result.instances


def _pycocotools(name: str) -> Any:
    try:
        return __import__(f"pycocotools.{name}", fromlist=[name])
    except ImportError as error:
        raise ImportError("COCO's format needs pycocotools, which is not installed; pip install pycocotools") from error
