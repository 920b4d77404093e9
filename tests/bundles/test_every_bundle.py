"""What every bundle must hold, whatever its method and data."""

import json
import shutil
from pathlib import Path

import monai.bundle
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out
from monai.data import MetaTensor

from amsam_monai.bundles.model_file import read_model, write_model
from amsam_monai.bundles.parts import bundle_settings, network_of, trained
from amsam_monai.bundles.settings import Settings
from tests.bundles.runs import NANO

BUNDLES = sorted(path.parents[1] for path in (Path(__file__).parents[2] / "bundles").glob("*/configs/metadata.json"))
SCHEMA = Path(__file__).with_name("metadata_schema.json")
FILES = (
    "LICENSE",
    "docs/README.md",
    "large_files.yml",
    "configs/logging.conf",
    "configs/train.yaml",
    "configs/inference.yaml",
    "configs/evaluate.yaml",
)

every_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)


def metadata_of(bundle: Path) -> dict:
    return json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))


@every_bundle
def test_it_has_all_files_and_no_python(bundle):
    assert not [name for name in FILES if not (bundle / name).is_file()]
    assert not list(bundle.rglob("*.py"))


@every_bundle
def test_the_only_pt_file_is_the_adapter_and_it_is_small(bundle):
    models = list((bundle / "models").glob("*.pt"))
    assert {path.name for path in models} <= {"model.pt"}
    assert all(path.stat().st_size < 32 * 2**20 for path in models)


@every_bundle
def test_its_metadata_follows_monais_specification(bundle, tmp_path):
    schema = tmp_path / "schema.json"
    shutil.copy(SCHEMA, schema)
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(schema))


@every_bundle
def test_its_version_is_in_its_changelog(bundle):
    metadata = metadata_of(bundle)
    assert metadata["version"] in metadata["changelog"]


@every_bundle
def test_the_schema_refuses_metadata_without_a_task(bundle, tmp_path):
    schema = tmp_path / "schema.json"
    shutil.copy(SCHEMA, schema)
    metadata = metadata_of(bundle)
    del metadata["task"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(ValueError, match="'task' is a required property"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(schema))


@every_bundle
def test_targets_are_full_paths_that_exist(bundle):
    def targets(node):
        if isinstance(node, dict):
            if isinstance(node.get("_target_"), str):
                yield node["_target_"]
            for value in node.values():
                yield from targets(value)
        elif isinstance(node, list):
            for value in node:
                yield from targets(value)

    import pydoc

    for config in sorted((bundle / "configs").glob("*.yaml")):
        for target in targets(yaml.safe_load(config.read_text(encoding="utf-8"))):
            if target.startswith("amsam_monai"):
                assert pydoc.locate(target) is not None, f"{config.name}: {target}"


def untrained(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle without its models."""
    shutil.copytree(bundle, folder / bundle.name, ignore=shutil.ignore_patterns("models"))
    return folder / bundle.name


@every_bundle
def test_its_network_takes_one_tensor_and_gives_one(bundle, tmp_path):
    root = untrained(bundle, tmp_path)
    system = yaml.safe_load((root / "configs" / "train.yaml").read_text(encoding="utf-8"))["settings"]["system"]
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(root / "configs" / "metadata.json"),
        config_file=str(root / "configs" / "inference.yaml"),
        device="cpu",
        p=2,
        n=32,
        any=70,
        bundle_root=str(root),
        **{"settings#sam": NANO["settings#sam"]},
        **({"settings#arguments#backbone_weights": "null"} if system == "autosam" else {}),
    )


@every_bundle
def test_metadata_and_model_file_name_the_classes_of_the_settings(bundle):
    settings = Settings.of(yaml.safe_load((bundle / "configs" / "train.yaml").read_text(encoding="utf-8"))["settings"])
    outputs = metadata_of(bundle)["network_data_format"]["outputs"]["pred"]
    assert outputs["channel_def"] == {"0": "background", **{str(at): name for at, name in settings.labels.items()}}
    assert outputs["num_channels"] == settings.num_classes + 1
    if (model := bundle / "models" / "model.pt").is_file():
        assert read_model(model).settings.classes == settings.classes


@every_bundle
def test_an_untrained_bundle_says_how_to_train_it(bundle, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not trained yet; train it with .*train.yaml"):
        trained(torch.nn.Linear(1, 1), untrained(bundle, tmp_path))


def test_one_override_of_the_intensity_reaches_all_that_scales(tmp_path):
    root = untrained(BUNDLES[0], tmp_path)
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.yaml"))
    parser.update({"bundle_root": str(root), "settings#intensity": {"mode": "none"}})
    image = MetaTensor(torch.tensor([[[0.2, 0.7]]]))
    scale = parser.get_parsed_content("preprocessing").transforms[1]
    assert scale({"image": image})["image"].tolist() == image.tolist()
    assert parser.get_parsed_content("checked").intensity == {"mode": "none"}


@pytest.mark.parametrize("name", ["sam#weights", "sam#image_size", "arguments#light", "slices#flips", "intensity#mode"])
def test_inference_takes_any_setting_by_its_key(name):
    parser = ConfigParser()
    parser.read_config(str(BUNDLES[0] / "configs" / "inference.yaml"))
    parser.update({f"settings#{name}": "said"})
    assert parser[f"settings#{name}"] == "said"


@pytest.mark.parametrize("system", ["amsam", "aisam", "autosam"])
def test_monai_loads_a_network_with_its_weights(system, tmp_path, monkeypatch):
    root = untrained(next(path for path in BUNDLES if path.name.split("_")[1] == system), tmp_path)
    monkeypatch.setenv("AMSAM_BUNDLES", str(tmp_path))
    for name in ("train.yaml", "train.json"):
        file = root / "configs" / name
        config = ConfigParser.load_config_file(str(file))
        config["settings"]["sam"] = NANO["settings#sam"]
        if system == "autosam":
            config["settings"]["arguments"]["backbone_weights"] = None
        file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    trained_one = network_of(root, bundle_settings(root))
    adapter = {name: value + 1 for name, value in trained_one.adapter_state_dict().items()}
    (root / "models").mkdir()
    write_model(root / "models" / "model.pt", adapter, bundle_settings(root))
    loaded = monai.bundle.load(root.name, bundle_dir=str(tmp_path), key_in_ckpt="model", device="cpu")
    state = loaded.adapter_state_dict()
    assert state.keys() == adapter.keys()
    assert all(torch.equal(value, adapter[name]) for name, value in state.items())
