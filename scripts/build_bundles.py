"""Build the bundles of this repository from their recipes, or check that they are what the recipes give.

python scripts/build_bundles.py            writes all of bundles/
python scripts/build_bundles.py --check    exits with 1 where a file differs, and names it
"""

import argparse
import sys
from pathlib import Path

from amsam_monai.bundles.build import build_bundle, bundle_files
from amsam_monai.bundles.recipes import read_recipe, recipe_names

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where something differs")
    parser.add_argument("--bundles", type=Path, default=BUNDLES, help="folder of the bundles")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(check(arguments.bundles))
    for recipe in recipe_names():
        print(build_bundle(recipe, arguments.bundles / read_recipe(recipe).name))


def check(bundles: Path) -> int:
    """1 where a file of a bundle is not what its recipe gives; the files are printed."""
    wrong: list[Path] = []
    for name in recipe_names():
        recipe = read_recipe(name)
        texts, root = bundle_files(recipe), bundles / recipe.name
        wrong += [root / file for file, text in texts.items() if not is_same(root / file, text)]
        wrong += sorted(file for file in (root / "configs").glob("*") if f"configs/{file.name}" not in texts)
    for file in wrong:
        print(f"{file} is not what its recipe gives; run scripts/build_bundles.py")
    return int(bool(wrong))


def is_same(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
