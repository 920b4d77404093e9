"""What every bundle must hold, whatever its method and data."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out

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
    return json.loads((bundle / "configs" / "metadata.json").read_text())


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
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
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
        for target in targets(yaml.safe_load(config.read_text())):
            if target.startswith("amsam_monai"):
                assert pydoc.locate(target) is not None, f"{config.name}: {target}"


@every_bundle
def test_its_network_takes_one_tensor_and_gives_one(bundle):
    nano = {"backbone": "vit_nano", "image_size": 64, "weights": "$None", "network_def#detector": "$None"}
    nano["generator_weights"] = "$None"
    config = bundle / "configs" / "inference.yaml"
    keys = ConfigParser.load_config_file(str(config))
    known = {name: value for name, value in nano.items() if name.split("#")[-1] in {*keys, *keys["network_def"]}}
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(config),
        device="cpu",
        p=2,
        n=32,
        any=70,
        **known,
    )


@every_bundle
def test_train_and_inference_share_the_networks_settings(bundle):
    train, inference = (
        ConfigParser.load_config_file(str(bundle / "configs" / f"{name}.yaml")) for name in ("train", "inference")
    )
    settings = [name for name in inference["network_def"] if name not in ("sam", "detector", "_target_")]
    for name in [*settings, "sam"]:
        assert inference["network_def"][name] == train["network_def"][name], name
    for name in (
        "backbone",
        "weights",
        "image_size",
        "calibration",
        "alpha",
        "lora_rank",
        "generator",
        "generator_weights",
        "prompt_size",
    ):
        assert inference.get(name) == train.get(name), name
