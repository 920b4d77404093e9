"""Recipes in layers: what a later one says replaces or joins what an earlier one said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy

from amsam_monai.bundles.prose import Entry, Map, Seq, Value

STEPS = ("handlers", "transforms", "val_handlers")  # lists of MONAI, whose items have names in recipes


def merge(base: Map, layer: Map, *, flat: bool = False) -> Map:
    """Lay a layer over a base, in place.

    Mappings are merged, but a component of another `_target_` replaces the one that was there, as a list or a plain
    value does. `!drop` takes an entry out, `!moved NAME` gives the neighbour NAME another name. A key a#b#c goes down
    into mappings. A new key goes behind the one that stands before it in its layer, which may be `!here`, to say no
    more than that. Comments of the layer replace those of the base, where it has some.

    Args:
        base: what is changed.
        layer: what is laid over it.
        flat: the base is an overlay of MONAI, whose own keys are paths: one that is not there stays a path.

    Raises:
        ValueError: a path leads into something that is no mapping, or nothing is called as `!moved` says.
    """
    last: dict[int, str] = {}
    for path, entry in layer.entries.items():
        node, key = _place(base, path, flat)
        _put(node, key, entry, behind=last.get(id(node)))
        last[id(node)] = key
    return base


def refuse_paths_twice(layer: Map) -> None:
    """Refuse two ways to the same value, such as a#b: 1 beside a: {b: 2}, of which the later would win.

    Raises:
        ValueError: there are, and where they lead.
    """
    if twice := [path for path, count in Counter(_paths(layer)).items() if count > 1]:
        raise ValueError(f"a value must be given once, got {', '.join(twice)} twice.")


def _paths(tree: Map, path: str = "") -> Iterator[str]:
    for key, entry in tree.entries.items():
        here = f"{path}#{key}" if path else key
        if isinstance(entry.value, Map) and entry.value.entries:
            yield from _paths(entry.value, here)
        elif getattr(entry.value, "tag", "") != "!here":
            yield here


def _place(node: Map, path: str, flat: bool) -> tuple[Map, str]:
    """The mapping that a path leads to, and the key there."""
    parts = path.split("#")
    known = next((end for end in range(len(parts), 0, -1) if "#".join(parts[:end]) in node.entries), 0)
    if not known and flat:
        return node, path
    head, rest = "#".join(parts[: known or 1]), parts[known or 1 :]
    if not rest:
        return node, head
    child = node.entries.setdefault(head, Entry(Map())).value
    if not isinstance(child, Map):
        raise ValueError(f"{path}: {head} must be a mapping to hold something, got {child}.")
    return _place(child, "#".join(rest), flat=False)


def _put(node: Map, key: str, entry: Entry, behind: str | None) -> None:
    value, tag = entry.value, getattr(entry.value, "tag", "")
    have = node.entries.get(key)
    if tag == "!drop":
        node.entries.pop(key, None)
    elif tag == "!moved":
        _rename(node, entry.value.text, key)  # type: ignore[union-attr]
    elif tag == "!here":
        if have is None:
            raise ValueError(f"{key}: !here must be something that is there, got nothing of that name.")
    elif have is None:
        made = Entry(_made(value), list(entry.before), entry.after)
        _insert(node, key, made, behind)
    else:
        have.before, have.after = entry.before or have.before, entry.after or have.after
        if isinstance(have.value, Map) and isinstance(value, Map) and _same_kind(have.value, value):
            have.value.flow = value.flow if not have.value.entries else have.value.flow
            merge(have.value, value)
        else:
            have.value = _made(value)


def _made(value: Value) -> Value:
    """A copy; keys of a mapping may be paths, too."""
    return merge(Map(flow=value.flow), value) if isinstance(value, Map) else deepcopy(value)


def _rename(node: Map, old: str, new: str) -> None:
    if old not in node.entries:
        raise ValueError(f"{new}: there must be something to be moved, got nothing called {old}.")
    items = [(new if name == old else name, entry) for name, entry in node.entries.items()]
    node.entries.clear()
    node.entries.update(items)


def _same_kind(have: Map, layer: Map) -> bool:
    target = layer.entries.get("_target_")
    return target is None or ("_target_" in have.entries and have.entries["_target_"].value == target.value)


def _insert(node: Map, key: str, entry: Entry, behind: str | None) -> None:
    if behind is None or behind not in node.entries:
        node.entries[key] = entry
        return
    items = list(node.entries.items())
    place = [name for name, _ in items].index(behind) + 1
    node.entries.clear()
    node.entries.update([*items[:place], (key, entry), *items[place:]])


def with_lists(tree: Value) -> Value:
    """The same tree with MONAI's lists in place of named handlers and transforms, in place."""
    if isinstance(tree, Map):
        for key, entry in tree.entries.items():
            entry.value = with_lists(entry.value)
            if key.rpartition("#")[2] in STEPS and isinstance(entry.value, Map):
                entry.value = Seq(list(entry.value.entries.values()), flow=not entry.value.entries)
    elif isinstance(tree, Seq):
        for item in tree.items:
            item.value = with_lists(item.value)
    return tree


def positions(tree: Map, path: str = "") -> dict[str, list[str]]:
    """Names of the handlers and transforms of each list, by the list's id, in their order."""
    found: dict[str, list[str]] = {}
    for key, entry in tree.entries.items():
        here = f"{path}#{key}" if path else key
        if isinstance(entry.value, Map):
            if key in STEPS:
                found[here] = list(entry.value.entries)
            found |= positions(entry.value, here)
    return found


def resolved(overlay: Map, places: dict[str, list[str]]) -> Map:
    """An overlay whose ids name handlers and transforms, with the positions that MONAI knows them by.

    Raises:
        ValueError: the list has no item of that name.
    """
    made = Map()
    for path, entry in overlay.entries.items():
        parts = path.split("#")
        for end in range(1, len(parts)):
            names = places.get("#".join(parts[:end]))
            if names is not None:
                if parts[end] not in names:
                    raise ValueError(f"{path}: {parts[end]} must be one of {', '.join(names)}.")
                parts[end] = str(names.index(parts[end]))
        made.entries["#".join(parts)] = entry
    return made
