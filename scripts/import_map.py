"""Draw the map of the package, docs/images/import_map.svg, from the imports in its source.

python scripts/import_map.py

A room is a package or a module below amsam_monai/. A row imports from the rows below it; what may import what within
a row is in docs/design.md. An arrow that a longer way down says already is left out. The picture carries the data that
it was drawn from, and tests/test_layering.py says when the imports are others.
"""

import ast
import json
import re
from html import escape, unescape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "amsam_monai"
PICTURE = ROOT / "docs" / "images" / "import_map.svg"
MODEL_FILES = {  # of bundles
    "arguments",
    "measured",
    "settings",
    "setting_checks",
    "plain_settings",
    "network",
    "fit",
    "model_file",
}
# What a row is called, and its rooms with the column that they stand in; from top to bottom
ROWS: dict[str, dict[str, float]] = {
    "command line": {"cli": 5},
    "other doors": {"annotate": 0.7, "label_app": 2, "doctor": 4, "runtime": 6},
    "at the doors": {"bodies": 0, "gate": 3.1, "cluster": 5.2},
    "from, to a bundle": {"auto": 3.8, "graphs": 4.9},
    "bundles": {"bundles": 2},
    "work on images": {"session": 1, "segment": 2, "evaluation": 3, "handlers": 4, "engines": 5, "phantoms": 6},
    "model files": {"model": 4},
    "parts": {"data": 0.5, "transforms": 2.2, "networks": 4, "losses": 5.5},
    "words for all": {"bit_depth": 0, "framing": 1, "installed": 2, "keys": 3, "lazy": 4, "square": 5, "version": 6},
}
ROW_OF = {room: at for at, rooms in enumerate(ROWS.values()) for room in rooms}
SHARED = tuple(ROWS["words for all"])
WIDTH, LEFT, COLUMN, PITCH = 1020, 210, 118, 92  # of the picture, its first column, columns and rows
BOX, BOX_HEIGHT, TOP = 100, 34, 16
Data = dict[str, dict[str, list[str]]]


def main() -> None:
    PICTURE.write_text(picture(data()), encoding="utf-8")
    print(PICTURE)


def data() -> Data:
    """Rows with their rooms, and of each room those that it imports, the words for all left out."""
    imports: dict[str, set[str]] = {room: set() for room in ROW_OF}
    for path in sorted(PACKAGE.rglob("*.py")):
        if (room := room_of(path)) in imports:
            imports[room] |= imported_rooms(path) - {room, *SHARED}
    return {
        "rows": {name: list(rooms) for name, rooms in ROWS.items()},
        "imports": {room: sorted(found) for room, found in imports.items() if room not in SHARED},
    }


def room_of(path: Path) -> str:
    """The room of a source file."""
    return _room([name.removesuffix(".py") for name in path.relative_to(PACKAGE).parts])


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a source file imports something from, anywhere in it."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {_room(name.split(".")[1:]) for name in names if name.startswith("amsam_monai.")}
    return rooms - {"__version__"}


def _room(names: list[str]) -> str:
    """What a model file holds lies below the handlers that write it, though its modules are in bundles/."""
    return "model" if names[0] == "bundles" and names[1:2] and names[1] in MODEL_FILES else names[0]


def arrows(imports: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Imports from a row into one below, without those that a way through a row between them says already."""
    down = {room: {one for one in found if ROW_OF[one] > ROW_OF[room]} for room, found in imports.items()}
    below = {room: set(found) for room, found in down.items()}
    for room in sorted(below, key=ROW_OF.__getitem__, reverse=True):
        below[room] |= {far for near in down[room] for far in below[near]}
    said = {room: {far for near in found for far in below[near]} for room, found in down.items()}
    return [(room, one) for room, found in down.items() for one in sorted(found - said[room])]


def picture(drawn: Data) -> str:
    """The map as SVG: rows of boxes, arrows downwards."""
    places = {
        room: (LEFT + column * COLUMN, TOP + row * PITCH)
        for row, rooms in enumerate(ROWS.values())
        for room, column in rooms.items()
    }
    height = 2 * TOP + (len(ROWS) - 1) * PITCH + BOX_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="14">',
        f"<metadata>{escape(json.dumps(drawn, sort_keys=True))}</metadata>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 8 4 0 8z" fill="#567"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for row, name in enumerate(drawn["rows"]):
        top = TOP + row * PITCH
        lines.append(
            f'<rect x="8" y="{top - 9}" width="{WIDTH - 16}" height="{BOX_HEIGHT + 18}" rx="8" fill="#eef2f6"/>'
        )
        lines.append(f'<text x="20" y="{top + 22}" fill="#567">{escape(name)}</text>')
    lines += [_arrow(places[one], places[other]) for one, other in arrows(drawn["imports"])]
    for room, (x, y) in places.items():
        box = f'x="{x - BOX / 2:.0f}" y="{y}" width="{BOX}" height="{BOX_HEIGHT}" rx="5"'
        lines.append(f'<rect {box} fill="#fff" stroke="#234"/>')
        label = "model files" if room == "model" else room
        lines.append(f'<text x="{x:.0f}" y="{y + 22}" text-anchor="middle" fill="#123">{escape(label)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = start, end
    y += BOX_HEIGHT
    bend = (to_y - y) / 2
    curve = f"M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y - 1:.0f}"
    return f'<path d="{curve}" fill="none" stroke="#567" stroke-width="1.2" marker-end="url(#tip)"/>'


def data_of(svg: str) -> Data:
    """What a picture was drawn from."""
    found: Data = json.loads(unescape(re.findall(r"<metadata>(.*)</metadata>", svg)[0]))
    return found


if __name__ == "__main__":
    main()
