"""Training with bfloat16 asked for, whatever the processor offers: AI-SAM and AutoSAM (AM-SAM: test_workflows.py)."""

import pytest
import torch

from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import NANO, adapter_of, workflow_of

SHORT = {"precision": "bfloat16", "max_epochs": 1, "val_interval": 1, "batch_size": 2}
DRAWS = {"listed": "null", "shots": 2, "val": 1, "pool": 2, "mixed_phantoms": 2}
METHODS = {
    "isic_aisam_segmentation": {"window": 0, "settings#arguments#depth": 1, "warmup": 1},
    "isic_autosam_segmentation": {"settings#arguments#backbone_weights": None, "views": 1},
}


@pytest.mark.parametrize("bundle", METHODS)
def test_training_in_bfloat16_moves_the_adapter_and_keeps_it_finite(bundle, folder):
    list(write_phantoms("isic", folder / "data", cases=4, side=48))
    places = {"bundle_root": str(folder), "dataset_dir": str(folder / "data"), "output_dir": str(folder / "out")}
    made = workflow_of(bundle, **{**NANO, **SHORT, **DRAWS, **METHODS[bundle], **places})
    network, seen = made.parser.get_parsed_content("network_def"), set()
    before = {name: value.clone() for name, value in network.adapter_state_dict().items()}
    for module in network.modules():
        module.register_forward_hook(lambda _, __, output: seen.add(getattr(output, "dtype", None)))
    made.run()
    made.finalize()
    assert torch.bfloat16 in seen
    after = network.adapter_state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert all(value.dtype == before[name].dtype for name, value in after.items())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    assert adapter_of(folder).keys() == after.keys()
