import shutil

import pytest
import torch

from amsam_monai.bundles.model_file import read_model, write_model
from amsam_monai.bundles.stages import mean_model
from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import BUNDLES, NANO

SETTINGS = {"system": "aisam", "sam": NANO["settings#sam"], "classes": {"liver": 1}}


def model(path, value, **settings):
    weights = {"decoder.weight": torch.full((2,), value).half(), "classifier.weight": torch.full((1,), value)}
    write_model(path, weights, {**SETTINGS, **settings})
    return path


def test_weights_are_averaged_but_for_those_that_one_model_gives(tmp_path):
    first, second = model(tmp_path / "a.pt", 1.0), model(tmp_path / "b.pt", 4.0)
    mean = read_model(mean_model([first, second], tmp_path / "mean.pt", keep={"classifier.": first}))
    assert mean.adapter["decoder.weight"].tolist() == [2.5, 2.5]
    assert mean.adapter["decoder.weight"].dtype == torch.float16
    assert mean.adapter["classifier.weight"].tolist() == [1.0]


def test_models_of_other_settings_are_refused(tmp_path):
    first, second = model(tmp_path / "a.pt", 1.0), model(tmp_path / "b.pt", 4.0, arguments={"depth": 1})
    with pytest.raises(ValueError, match=r"models must be of one network, .*a.pt and .*b.pt differ in arguments.depth"):
        mean_model([first, second], tmp_path / "mean.pt")


def test_an_adapter_of_several_stages_is_made_by_one_config(folder):
    from monai.bundle import ConfigWorkflow

    list(write_phantoms("acdc", folder / "data", cases=4, side=48))
    root = folder / "acdc_aisam_segmentation"
    shutil.copytree(BUNDLES / root.name, root, ignore=shutil.ignore_patterns("models"))
    short = {"settings#arguments#depth": 1, "window": 0, "batch_size": 4, "max_epochs": 1, "warmup": 1}
    data = {"listed": None, "test": 1, "every": 4, "dataset_dir": str(folder / "data")}
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "again.yaml"),
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(root),
        overrides={**NANO, **short, **data},
        **{"stages#0#overrides": {"val": 1}, "stages#1#overrides#views": 1, "stages#2#overrides#views": 1},
    )
    workflow.initialize()
    workflow.run()
    whole, turned = (read_model(root / "eval" / "again" / f"{name}.pt").adapter for name in ("whole", "turned"))
    made = read_model(root / "models" / "model.pt").adapter
    assert made.keys() == whole.keys()
    for name, value in made.items():
        mean = ((whole[name].float() + turned[name].float()) / 2).to(value.dtype)
        assert torch.equal(value, whole[name] if name.startswith("classifier.") else mean), name
