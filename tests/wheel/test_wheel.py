"""The built wheel in an environment of its own, away from the repository: `make test-wheel`."""

import pytest

pytestmark = pytest.mark.wheel

BUILD = """
import json, sys
from pathlib import Path
import torch
from amsam_monai.bundles.model_file import write_model
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.settings import Settings

root = Path(sys.argv[1])
(root / "configs").mkdir(parents=True)
settings = Settings.of({
    "system": "amsam",
    "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
    "classes": {"lesion": 1},
    "arguments": {"lora_rank": 2},
    "intensity": {"mode": "bit_depth"},
})
torch.manual_seed(0)
write_model(root / "models" / "model.pt", build_network(settings).adapter_state_dict(), settings)
(root / "configs" / "inference.yaml").write_text("settings: {}")
channels = {"0": "background", "1": "lesion"}
metadata = {"version": "0.1.0", "network_data_format": {"outputs": {"pred": {"channel_def": channels}}}}
(root / "configs" / "metadata.json").write_text(json.dumps(metadata))
"""
LOAD = """
import sys
import amsam_monai

model = amsam_monai.load(sys.argv[1])
print(amsam_monai.__file__, type(model.network).__name__, model.labels)
"""


def test_the_command_line_starts(run):
    assert "Segment a file or a folder with a bundle." in run("amsam", "--help")


def test_recipes_are_in_the_wheel(run):
    assert "  isic_amsam\n" in run("amsam", "bundle", "list")


def test_a_bundle_is_built_from_a_recipe(run, tmp_path):
    run("amsam", "bundle", "build", "isic_amsam", tmp_path / "built")
    assert (tmp_path / "built" / "configs" / "train.yaml").is_file()


def test_a_bundle_given_by_path_loads_and_segments(run, tmp_path):
    bundle, images = tmp_path / "nano_segmentation", tmp_path / "phantoms"
    run("python", "-c", BUILD, bundle)
    file, system, labels = run("python", "-c", LOAD, bundle).split(maxsplit=2)
    assert "site-packages" in file
    assert (system, labels.strip()) == ("AMSAM", "{1: 'lesion'}")
    run("amsam", "demo-data", "isic", images, "--cases", "1", "--side", "48")
    run("amsam", "segment", images / "images", tmp_path / "masks", "--bundle", bundle)
    assert len(list((tmp_path / "masks").glob("*.png"))) == 1
