"""Which case is for training, for validation, for test: official splits and few-shot draws, by id, from files.

A draw is drawn once and written down, so that everybody trains on the same images. `few_shot_table` makes the files:
ids in natural order, first the held-out part, then for each seed a permutation of the rest, whose first 4, 8 and 16
ids are the supports; the smaller ones are parts of the larger ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.files.names import natural_key

FOLDER = Path(__file__).with_name("splits")
SHOTS = (4, 8, 16)
SEEDS = (0, 1, 2)


@lru_cache
def _file(dataset: str) -> dict[str, Any]:
    path = FOLDER / f"{dataset}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise ValueError(f"data set with splits must be one of {known}, got {dataset!r}.")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def split_entry(dataset: str, split: str = "official") -> dict[str, Any]:
    """A split with its "source", and one of: "sections" with ids, "folders" of the owner, or numbers "in_order".

    Args:
        dataset: name of a file in data/splits.
        split: name of a split in it.

    Raises:
        ValueError: no such data set or split.
    """
    splits = _file(dataset)["splits"]
    if split not in splits:
        raise ValueError(f"split of {dataset} must be one of {', '.join(splits)}, got {split!r}.")
    return dict(splits[split])


def split_sections(dataset: str, split: str = "official", *, case_ids: Sequence[str] = ()) -> dict[str, list[str]]:
    """Ids of each section, "training", "validation", "test", in the owner's order.

    Args:
        dataset: name of a file in data/splits.
        split: name of a split in it.
        case_ids: the data set's ids, needed where the split is so many in natural order.

    Raises:
        ValueError: no such data set or split, or one by folders, or another number of ids than it needs.
    """
    entry = split_entry(dataset, split)
    if "sections" in entry:
        return {section: list(ids) for section, ids in entry["sections"].items()}
    if "in_order" not in entry:
        raise ValueError(f"split {split} of {dataset} must be read off the folders, {', '.join(entry['folders'])}.")
    needed = sum(entry["in_order"].values())
    ordered = sorted(set(case_ids), key=natural_key)
    if len(ordered) != needed:
        raise ValueError(f"split {split} of {dataset} must have all {needed} cases, got {len(ordered)}.")
    starts = np.cumsum([0, *entry["in_order"].values()])
    return {name: ordered[starts[k] : starts[k + 1]] for k, name in enumerate(entry["in_order"])}


def read_sections(path: str | Path) -> dict[str, list[str]]:
    """Sections of a split file of your own: {"training": [ids], "validation": [ids], "test": [ids]}.

    Raises:
        ValueError: not such a file, or an id in two sections.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: split must be a JSON file ({error}).") from error
    sections = content.get("sections", content) if isinstance(content, dict) else content
    if not isinstance(sections, dict) or not all(isinstance(ids, list) for ids in sections.values()):
        raise ValueError(f"{path}: split must map training, validation and test to lists of ids.")
    seen: dict[str, str] = {}
    for section, ids in sections.items():
        for one in map(str, ids):
            if seen.setdefault(one, section) != section:
                raise ValueError(f"{path}: id {one} must lie in one section, got {seen[one]} and {section}.")
    return {section: [str(one) for one in ids] for section, ids in sections.items()}


def support_ids(dataset: str, *, shots: int, draw: int) -> list[str]:
    """Ids of the images, or patients, of a few-shot draw; 4 shots are part of 8, and 8 of 16.

    Args:
        dataset: name of a file in data/splits that has draws.
        shots: 4, 8 or 16; anything up to 16 works.
        draw: 0, 1 or 2.

    Raises:
        ValueError: no draws for this data set, or none like that.
    """
    draws = _few_shot(dataset)["draws"]
    if not 0 <= draw < len(draws):
        raise ValueError(f"draw of {dataset} must lie in 0..{len(draws) - 1}, got {draw}.")
    ids = draws[draw]["ids"]
    if not 1 <= shots <= len(ids):
        raise ValueError(f"shots of {dataset} must lie in 1..{len(ids)}, got {shots}.")
    return list(ids[:shots])


def held_out_ids(dataset: str) -> list[str]:
    """Ids that no draw of this data set touches: to choose, tune and compare on."""
    return list(_few_shot(dataset)["held_out"])


def _few_shot(dataset: str) -> dict[str, Any]:
    content = _file(dataset)
    if "few_shot" not in content:
        raise ValueError(f"{dataset} has no few-shot draws; draw_support makes one from your own ids.")
    few_shot: dict[str, Any] = content["few_shot"]
    return few_shot


def pick(datalist: Sequence[Mapping[str, Any]], ids: Sequence[str], *, by: str = "case_id") -> list[dict[str, Any]]:
    """The items with these ids, in the order of the ids.

    Raises:
        ValueError: an id that no item has.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in datalist:
        groups.setdefault(item[by], []).append(dict(item))
    if lost := [one for one in ids if one not in groups]:
        raise ValueError(f"datalist must hold every {by} of the split, lacks {len(lost)}: {', '.join(lost[:8])}.")
    return [item for one in ids for item in groups[one]]


def draw_support(ids: Sequence[str], *, shots: int, seed: int) -> list[str]:
    """`shots` of the ids, by the seed's permutation of the ids in natural order; fewer shots are the first of more.

    numpy's RandomState is used because its stream is frozen for good.

    Raises:
        ValueError: fewer ids than shots.
    """
    ordered = sorted(set(ids), key=natural_key)
    if not 1 <= shots <= len(ordered):
        raise ValueError(f"shots must lie in 1..{len(ordered)}, got {shots}.")
    return [ordered[place] for place in np.random.RandomState(seed).permutation(len(ordered))[:shots]]


def few_shot_table(
    pool: Sequence[str], *, held_out: int | Sequence[str], unit: str = "case_id", seeds: Sequence[int] = SEEDS
) -> dict[str, Any]:
    """The "few_shot" entry of a split file: held-out ids, and for each seed the ids of the largest support.

    Args:
        pool: ids to draw from.
        held_out: ids to leave out, or how many to draw for that, with seed 2024.
        unit: what the ids name, "case_id" or "patient_id".
        seeds: one draw each.
    """
    held = draw_support(pool, shots=held_out, seed=2024) if isinstance(held_out, int) else list(held_out)
    rest = [one for one in pool if one not in set(held)]
    draws = [{"seed": seed, "ids": draw_support(rest, shots=max(SHOTS), seed=seed)} for seed in seeds]
    return {"unit": unit, "shots": list(SHOTS), "held_out": sorted(held, key=natural_key), "draws": draws}
