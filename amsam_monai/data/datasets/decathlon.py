"""The Medical Segmentation Decathlon's layout, and nnU-Net's: imagesTr, labelsTr, dataset.json."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amsam_monai.data.datasets.cases import Case, Listing, Problem, files_in, pair_up
from amsam_monai.data.files.images import stem_of
from amsam_monai.data.files.names import same_name

CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's ending of an image's name
DECLARATION = "dataset.json"


def find_decathlon(root: Path, channel: int | None = None) -> Listing | None:
    """Cases of imagesTr and labelsTr, with the names of dataset.json; None where this is another layout.

    Args:
        root: the data set's folder, or its dataset.json.
        channel: which of several images of a case; needed where there are several.
    """
    folder = root.parent if root.name == DECLARATION else root
    if not (folder / "imagesTr").is_dir():
        return None
    listing = Listing("own", {}, [])
    if not (folder / "labelsTr").is_dir():
        listing.problems.append(Problem(folder, "must hold labelsTr/ beside imagesTr/, found none."))
        return listing
    declared = read_declaration(folder / DECLARATION, listing) if (folder / DECLARATION).is_file() else {}
    listing.labels = label_names(declared.get("labels", {}))
    images = images_of_cases(folder / "imagesTr", listing, channel, channel_names(declared))
    labels: dict[str, list[Path]] = defaultdict(list)
    for name in files_in(folder / "labelsTr"):
        labels[same_name(stem_of(name))].append(folder / "labelsTr" / name)
    pairs, problems = pair_up(images, labels)
    listing.problems += problems
    listing.cases = [Case(image, label, key, key, None, "named") for key, image, label in pairs]
    return listing


def read_declaration(path: Path, listing: Listing) -> dict[str, Any]:
    """What dataset.json holds; a damaged one is a problem of the listing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        listing.problems.append(Problem(path, f"must be JSON, got another content ({error})."))
        return {}
    return content if isinstance(content, dict) else {}


def label_names(declared: Mapping[str, Any]) -> dict[int, str]:
    """Value -> name from either form: {"1": "liver"} of the Decathlon, {"liver": 1} of nnU-Net; background left out.

    A region of nnU-Net, a list of values, has no value of its own and is left out.
    """
    names: dict[int, str] = {}
    for key, value in declared.items():
        if str(key).isdigit():
            names[int(key)] = str(value)
        elif isinstance(value, int | str) and str(value).isdigit():
            names[int(value)] = str(key)
    return {value: name for value, name in sorted(names.items()) if value > 0 and name != "ignore"}


def channel_names(declared: Mapping[str, Any]) -> dict[int, str]:
    """Channel -> what it shows."""
    declared = declared.get("channel_names") or declared.get("modality") or {}
    return {int(key): str(name) for key, name in declared.items() if str(key).isdigit()}


def images_of_cases(
    folder: Path, listing: Listing, channel: int | None, names: Mapping[int, str]
) -> dict[str, list[Path]]:
    """Case -> its image. Where all names end in a channel's four digits, those are not part of the case's name."""
    files = files_in(folder)
    stems = {name: same_name(stem_of(name)) for name in files}
    matches = {name: CHANNEL.fullmatch(stem) for name, stem in stems.items()}
    by_case: dict[str, dict[int, Path]] = defaultdict(dict)
    if not files or not all(matches.values()):
        return {stems[name]: [folder / name] for name in files}
    for name, match in matches.items():
        if match is not None:
            by_case[match[1]][int(match[2])] = folder / name
    channels = sorted({number for images in by_case.values() for number in images})
    if channel is None and len(channels) > 1:
        known = ", ".join(f"{number} {names.get(number, '')}".strip() for number in channels)
        listing.problems.append(Problem(folder, f"has several channels ({known}); choose one with --channel."))
        return {}
    wanted = channels[0] if channel is None else channel
    if len(channels) > 1:
        listing.notes.append(f"channel {wanted} {names.get(wanted, '')}".rstrip() + f" of {len(channels)} was taken")
    listing.problems += [
        Problem(next(iter(images.values())), f"must have channel {wanted}, got {sorted(images)}.")
        for images in by_case.values()
        if wanted not in images
    ]
    return {case: [images[wanted]] for case, images in by_case.items() if wanted in images}
