"""The import direction of the package, read from its source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "amsam_monai"
SHARED = {"bit_depth", "keys", "square", "framing", "lazy", "version"}
BASE = {"networks", "losses", "transforms", "data"}
MODEL_FILES = {"arguments", "measured", "settings", "network", "fit", "model_file"}  # of bundles
MIDDLE = {"engines", "handlers", "segment", "session", "evaluation", "phantoms"}
TOP = {"cli", "label_app", "annotate", "doctor", "runtime", "gate", "bodies", "cluster"}


def imported_parts(path: Path) -> set[str]:
    parts: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts |= {part_of(name.split(".")[1:]) for name in names if name.startswith("amsam_monai.")}
    return parts - {"__version__"}


def part_of(names: list[str]) -> str:
    """The room of a module; what a model file holds lies below the handlers that write it."""
    return "model" if names[0] == "bundles" and names[1:2] and names[1] in MODEL_FILES else names[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_lies_below_it(path):
    part = part_of([name.removesuffix(".py") for name in path.relative_to(PACKAGE).parts])
    allowed = {
        **{name: SHARED | {name} for name in BASE | SHARED},
        "model": SHARED | BASE | {"model"},
        **dict.fromkeys(MIDDLE, SHARED | BASE | MIDDLE | {"model"}),
        "bundles": SHARED | BASE | MIDDLE | {"model", "bundles"},
        "auto": SHARED | BASE | MIDDLE | {"model", "bundles", "auto"},
        "graphs": SHARED | BASE | MIDDLE | {"model", "bundles", "graphs"},
        "runtime": SHARED | {"data", "segment", "transforms", "runtime"},
    }.get(part, SHARED | BASE | MIDDLE | TOP | {"model", "bundles", "auto", "graphs"})
    assert imported_parts(path) <= allowed


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
