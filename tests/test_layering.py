"""The import direction of the package, read from its source."""

import ast
import re
from pathlib import Path

import pytest

from scripts.import_map import (
    PACKAGE,
    PICTURE,
    ROW_OF,
    ROWS,
    SHARED,
    arrows,
    data,
    data_of,
    imported_rooms,
    picture,
    room_of,
)

BASE, MIDDLE = set(ROWS["parts"]), set(ROWS["work on images"])
BELOW_DOORS = {*SHARED, *BASE, *MIDDLE, "model", "bundles", "auto"}
ALLOWED = {
    **{name: {*SHARED, name} for name in (*BASE, *SHARED)},
    "model": {*SHARED, *BASE, "model"},
    **{name: {*SHARED, *BASE, *MIDDLE, "model"} for name in MIDDLE},
    "bundles": {*SHARED, *BASE, *MIDDLE, "model", "bundles"},
    "auto": BELOW_DOORS,
    "graphs": {*SHARED, *BASE, *MIDDLE, "model", "bundles", "graphs"},
    "runtime": {*SHARED, "data", "segment", "transforms", "runtime"},
}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_lies_below_it(path):
    assert imported_rooms(path) <= ALLOWED.get(room_of(path), set(ROW_OF))


def test_every_room_has_its_place_on_the_map():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__main__", "__pycache__", "py.typed", "recipes"} == set(ROW_OF) - {"model"}


def test_the_map_in_contributing_shows_the_imports_of_today():
    """After a change of who imports whom: python scripts/import_map.py."""
    svg = PICTURE.read_text(encoding="utf-8")
    assert data_of(svg) == data()
    assert svg == picture(data())


def test_arrows_of_the_map_lead_down():
    ends = re.findall(r'<path d="M\S+ (\d+)C.* (\d+)" fill="none"', picture(data()))
    assert len(ends) == len(arrows(data()["imports"])) > 10
    assert all(int(start) < int(end) for start, end in ends)


def test_an_arrow_that_a_longer_way_says_is_left_out():
    imports = {"cli": ["auto", "data", "doctor"], "auto": ["bundles"], "bundles": ["data"], "doctor": [], "data": []}
    assert arrows(imports) == [("cli", "auto"), ("cli", "doctor"), ("auto", "bundles"), ("bundles", "data")]


@pytest.mark.parametrize(("owners", "library"), [({"build", "vit"}, "segment_anything"), ({"yolo"}, "ultralytics")])
def test_a_foreign_library_is_imported_in_one_place(owners, library):
    def imports(path: Path) -> bool:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [getattr(node, "module", None) or node.names[0].name for node in nodes]
        return any(name.split(".")[0] == library for name in names)

    assert {path.stem for path in PACKAGE.rglob("*.py") if imports(path)} <= owners


def test_no_module_is_named_utils():
    assert not list(PACKAGE.rglob("utils*"))
