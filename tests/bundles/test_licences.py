"""A detector that derives from Ultralytics' YOLO has its licence beside it, in the metadata and in the card."""

import hashlib
import json
import subprocess

import pytest
import yaml

from amsam_monai.bundles.build import build_bundle
from amsam_monai.networks.detector.licence import licence_text
from tests.bundles.runs import BUNDLES

GNU = "0d96a4ff68ad6d4b6f1f30f713b18d5184912ba8dd389f86aa7710db079abcb0"  # sha256 of GNU's own agpl-3.0.txt
OWN = {
    "name": "own",
    "method": "amsam",
    "images": "pictures",
    "words": {"title": "Cells", "few": "a few", "layout": "l", "scans": "images", "modality": "own"},
    "train.yaml": {"settings#classes": {"cell": 1}, "val": 1, "datalist": []},
    "metadata.json": {"task": "Cells", "data_source": "none"},
}


def licences(root):
    return json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["licenses"]


def own(folder, **train):
    recipe = {**OWN, "train.yaml": OWN["train.yaml"] | train}
    (folder / "own.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return build_bundle(folder / "own.yaml", folder / "own")


def test_the_text_is_gnus_own_word_for_word():
    assert hashlib.sha256(licence_text().encode()).hexdigest() == GNU


@pytest.mark.parametrize("root", sorted(path.parent for path in BUNDLES.glob("*/configs")), ids=lambda root: root.name)
def test_every_detector_that_a_bundle_ships_has_its_licence(root):
    shipped = {f"models/{file.name}" for file in (root / "models").glob("*.pth")}
    told = licences(root)
    assert told.pop("bundle") == "Apache-2.0, see LICENSE"
    assert shipped <= set(told)
    card = (root / "docs" / "README.md").read_text(encoding="utf-8")
    for file, said in told.items():
        licence = file.replace(".pth", ".LICENSE")
        assert said == f"AGPL-3.0, see {licence}"
        assert (root / licence).read_text(encoding="utf-8") == licence_text()
        assert f"`{file}`" in card
        assert "AGPL-3.0" in card


def test_the_licences_are_kept_with_the_repository():
    tracked = subprocess.run(["git", "ls-files", "*.LICENSE"], cwd=BUNDLES, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("no git repository")
    assert len(tracked.stdout.split()) == len(list(BUNDLES.glob("*/models/*.LICENSE"))) >= 4


def test_a_bundle_of_one_s_own_says_it_too_and_one_without_a_detector_does_not(tmp_path):
    root = own(tmp_path)
    assert licences(root)["models/detector.pth"] == "AGPL-3.0, see models/detector.LICENSE"
    card = (root / "docs" / "README.md").read_text(encoding="utf-8")
    assert "`models/detector.pth` derives from Ultralytics' YOLO and is AGPL-3.0, whose text is" in card
    assert (root / "models" / "detector.LICENSE").is_file()
    (tmp_path / "without").mkdir()
    root = own(tmp_path / "without", **{"settings#detector": None})
    assert list(licences(root)) == ["bundle"]
    assert "AGPL" not in (root / "docs" / "README.md").read_text(encoding="utf-8")
    assert not (root / "models" / "detector.LICENSE").exists()
