import json

import pytest
import torch

from amsam_monai.bundles.load import load_bundle
from amsam_monai.handlers import save_atomically
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM

CONFIG = """
backbone_weights: null
network_def:
  _target_: amsam_monai.networks.systems.amsam.AMSAM
  sam:
    _target_: amsam_monai.networks.sam.build_sam
    backbone: vit_nano
    image_size: 64
    weights: "@backbone_weights"
network:
  _target_: amsam_monai.handlers.load_adapter
  network: "@network_def"
  path: "$@bundle_root + '/models/model.pt'"
intensity: {mode: bit_depth}
"""


@pytest.fixture
def bundle(tmp_path):
    root = tmp_path / "toy"
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "inference.yaml").write_text(CONFIG)
    channels = {"outputs": {"pred": {"channel_def": {"0": "background", "1": "lesion"}}}}
    (root / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": channels}))
    net = AMSAM(build_sam("vit_nano", image_size=64))
    save_atomically({"model": net.adapter_state_dict()}, root / "models" / "model.pt")
    return root


def test_a_bundle_gives_its_network_labels_and_intensity(bundle):
    loaded = load_bundle(bundle)
    assert loaded.labels == {1: "lesion"}
    assert loaded.intensity == {"mode": "bit_depth"}
    assert loaded.network(torch.rand(1, 3, 40, 60)).shape == (1, 2, 40, 60)


def test_an_untrained_bundle_says_how_to_train_it(bundle):
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"not trained yet; train it with .*train.yaml"):
        load_bundle(bundle)


def test_missing_weights_are_named_not_wrapped(bundle, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights must be an existing file, got .*none.pth"):
        load_bundle(bundle, backbone_weights=str(tmp_path / "none.pth"))


def test_an_adapter_of_another_network_is_refused(bundle):
    save_atomically({"model": {"other": torch.zeros(1)}}, bundle / "models" / "model.pt")
    with pytest.raises(ValueError, match="the adapter does not fit this network"):
        load_bundle(bundle)
