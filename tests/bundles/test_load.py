import json

import pytest
import torch
import yaml
from typer.testing import CliRunner

import amsam_monai
from amsam_monai.bundles.bring_over import bring_over
from amsam_monai.bundles.load import config_file, load_bundle
from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.parts import bundle_settings, network_of, trained
from amsam_monai.bundles.settings import Settings
from amsam_monai.cli import app
from amsam_monai.handlers import save_atomically
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.networks.detector.detector import pretrained_detector
from amsam_monai.networks.detector.files import load_detector, save_detector
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from tests.networks.yolo_fixtures import write_tiny_yolo

OLD_CONFIG = """
network_def:
  _target_: amsam_monai.networks.systems.amsam.AMSAM
  sam: {_target_: amsam_monai.networks.sam.build_sam, backbone: vit_nano, image_size: 64}
  alpha: 0.5
  resize: stretch
network:
  _target_: amsam_monai.handlers.load_adapter
  network: "@network_def"
  path: "$@bundle_root + '/models/model.pt'"
intensity: {mode: bit_depth}
"""
SETTINGS = Settings.of(
    {
        "system": "amsam",
        "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
        "classes": {"lesion": 6},
        "intensity": {"mode": "bit_depth"},
        "slices": {"flips": ["horizontal"]},
    }
)


def write_bundle(root, config):
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "inference.yaml").write_text(config, encoding="utf-8")
    channels = {"outputs": {"pred": {"channel_def": {"0": "background", "1": "lesion"}}}}
    (root / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": channels}), encoding="utf-8")


@pytest.fixture
def bundle(tmp_path):
    """A bundle whose config would fail if it ran."""
    write_bundle(tmp_path / "toy", 'settings: {}\nnetwork: "$1/0"\n')
    net = AMSAM(build_sam("vit_nano", image_size=64))
    save_adapter(net, tmp_path / "toy" / "models" / "model.pt", settings=SETTINGS)
    return tmp_path / "toy"


def test_a_bundle_is_what_its_model_file_says(bundle):
    loaded = load_bundle(bundle, device="cpu")
    assert loaded.labels == {1: "lesion"}
    assert (loaded.intensity, loaded.slices) == ({"mode": "bit_depth"}, {"flips": ["horizontal"]})
    assert loaded.network(torch.rand(1, 3, 40, 60)).shape == (1, 2, 40, 60)


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_settings_of_the_config_and_of_the_caller_replace_the_files(bundle, ending):
    block = {"settings": {"intensity": {"mode": "none"}, "slices": {"batch_size": 2}}}
    (bundle / "configs" / "inference.yaml").unlink()
    (bundle / "configs" / f"inference.{ending}").write_text(
        json.dumps(block) if ending == "json" else yaml.dump(block), encoding="utf-8"
    )
    loaded = load_bundle(bundle, device="cpu", settings={"slices": {"flips": []}})
    assert (loaded.intensity, loaded.slices) == ({"mode": "none"}, {"flips": [], "batch_size": 2})
    with pytest.raises(ValueError, match=r"settings.sam.image_size must be 64, .* got 128"):
        load_bundle(bundle, device="cpu", settings={"sam": {"image_size": 128}})


@pytest.fixture
def with_detector(tmp_path):
    """A bundle that was trained with the detector beside its model file."""
    pytest.importorskip("ultralytics", reason="the detector extra is not installed")
    write_bundle(root := tmp_path / "toy", "settings: {}\n")
    detector = pretrained_detector(write_tiny_yolo(tmp_path), classes=[0], image_size=64)
    save_detector(detector, root / "models" / "detector.pth")
    torch.save(build_sam("vit_nano", image_size=64).state_dict(), tmp_path / "sam.pth")
    sam = {"backbone": "vit_nano", "weights": str(tmp_path / "sam.pth"), "image_size": 64}
    settings = {**SETTINGS.to_mapping(), "sam": sam, "detector": {"file": "detector.pth"}}
    save_adapter(build_network(settings, detector=detector), root / "models" / "model.pt", settings=settings)
    return root


DOORS = {
    "bundle": lambda root: load_bundle(root, device="cpu").network,
    "model file": lambda root: amsam_monai.load(root / "models" / "model.pt", device="cpu").network,
    "monai": lambda root: trained(network_of(root, bundle_settings(root)), root),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_detector_that_was_put_in_the_place_of_another_is_told(with_detector, caplog, door):
    models = with_detector / "models"
    DOORS[door](with_detector)
    assert not caplog.records
    other = load_detector(models / "detector.pth")
    other.cases = ["1"]
    save_detector(other, models / "detector.pth")
    assert DOORS[door](with_detector).detector.cases == ["1"]
    [record] = caplog.records
    said = f"{models / 'model.pt'} was trained with another detector than {models / 'detector.pth'} (sha256 "
    assert record.getMessage().startswith(said)
    assert "Train the bundle again" in record.getMessage()


@pytest.mark.parametrize("door", DOORS)
def test_a_detector_that_is_gone_is_refused_with_its_place(with_detector, door):
    (with_detector / "models" / "detector.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"models.* (Train one with|must hold the detector)"):
        DOORS[door](with_detector)


def test_no_code_in_settings_is_run(bundle):
    (bundle / "configs" / "inference.yaml").write_text("settings: {slices: {batch_size: '$1/0'}}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"inference.yaml: settings must be plain values, got '\$1/0'"):
        load_bundle(bundle)


@pytest.mark.parametrize("key", ["settings#label_values", "settings::label_values"])
def test_a_setting_beside_the_block_which_monai_would_follow_is_refused(bundle, key):
    (bundle / "configs" / "inference.yaml").write_text(f"settings: {{}}\n{key}: own\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"inference.yaml: settings must stand in one block, got '{key}'"):
        load_bundle(bundle)


def test_twins_that_differ_are_refused(bundle):
    (bundle / "configs" / "inference.json").write_text('{"settings": {}, "network": "$1/0"}', encoding="utf-8")
    assert config_file(bundle, "inference").name == "inference.yaml"
    (bundle / "configs" / "inference.json").write_text(
        '{"settings": {"resize": "pad"}, "network": "$1/0"}', encoding="utf-8"
    )
    with pytest.raises(
        ValueError, match=r"inference.yaml and inference.json must say the same, they differ in settings"
    ):
        load_bundle(bundle)


def test_metadata_of_other_classes_is_refused(bundle):
    path = bundle / "configs" / "metadata.json"
    path.write_text(path.read_text(encoding="utf-8").replace("lesion", "polyp"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"must name the model's classes \{1: 'lesion'\}, got \{1: 'polyp'\}"):
        load_bundle(bundle)


def test_an_untrained_bundle_says_how_to_train_it(bundle):
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"not trained yet; train it with .*train.yaml"):
        load_bundle(bundle)


def test_a_bundle_of_before_is_brought_over_from_its_config(tmp_path):
    root = tmp_path / "old"
    write_bundle(root, OLD_CONFIG)
    torch.manual_seed(0)
    net = AMSAM(build_sam("vit_nano", image_size=64), alpha=0.5, resize="stretch")
    adapter = {name: value.half() for name, value in net.adapter_state_dict().items()}
    save_atomically({"model": adapter}, root / "models" / "model.pt")
    with pytest.raises(ValueError, match=r"must hold the settings .*`amsam convert bundle BUNDLE`"):
        load_bundle(root)
    result = CliRunner().invoke(app, ["convert", "bundle", str(root)])
    assert "model.pt: in the present format, weights unchanged" in result.output
    found = read_model(root / "models" / "model.pt")
    assert all(value.equal(adapter[name]) for name, value in found.adapter.items())
    assert (found.settings.classes, found.settings.resize, found.settings.arguments["alpha"]) == (
        {"lesion": 1},
        "stretch",
        0.5,
    )
    assert load_bundle(root, device="cpu").intensity == {"mode": "bit_depth"}
    assert bring_over(root) == []


def test_a_bundle_of_before_with_a_block_of_settings_takes_those(tmp_path):
    root = tmp_path / "old"
    write_bundle(root, "settings: {}")
    (root / "configs" / "train.yaml").write_text(yaml.dump({"settings": SETTINGS.to_mapping()}), encoding="utf-8")
    adapter = AMSAM(build_sam("vit_nano", image_size=64)).adapter_state_dict()
    save_atomically({"model": adapter}, root / "models" / "model.pt")
    assert bring_over(root) == [root / "models" / "model.pt"]
    assert read_model(root / "models" / "model.pt").settings.classes == {"lesion": 6}
    save_atomically({"model": {"other": torch.zeros(1)}}, root / "models" / "model.pt")
    with pytest.raises(ValueError, match=r"model.pt: the adapter does not fit this network"):
        bring_over(root)
