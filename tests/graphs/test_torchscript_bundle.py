"""MONAI's own `ckpt_export` makes TorchScript of a bundle, for images of any size."""

import json

import pytest
import torch
from monai.bundle import ckpt_export

from amsam_monai.bundles.load import load_bundle
from amsam_monai.networks.systems.mean import Mean
from tests.doors import prepared
from tests.graphs.test_graphs import SYSTEMS, built


@pytest.mark.slow
@pytest.mark.parametrize("system", ["amsam", "aisam", "autosam"])
@torch.no_grad()
def test_monai_exports_a_bundle(system, tmp_path):
    root = prepared(system, tmp_path, first=True)
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(root / "models" / "model.pt"),
        meta_file=str(root / "configs" / "metadata.json"),
        config_file=str(root / "configs" / "inference.yaml"),
        key_in_ckpt="model",
        bundle_root=str(root),
    )
    extra = {"metadata.json": ""}
    script = torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra)
    assert json.loads(extra["metadata.json"])["name"]
    net = load_bundle(root, device="cpu").network
    for size in [(3, 3, 64, 64), (1, 3, 40, 90), (2, 3, 130, 70)]:
        image = torch.rand(size)
        torch.testing.assert_close(script(image), net(image), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("AM-SAM with a detector",) else pytest.mark.slow) for n in SYSTEMS]
)
@torch.no_grad()
def test_a_system_is_scripted_whole(name):
    net = built(name)
    script = torch.jit.script(net)
    for size in [(3, 3, 64, 64), (1, 3, 40, 90), (2, 3, 130, 70), (10, 3, 64, 64)]:
        image = torch.rand(size)
        torch.testing.assert_close(script(image), net(image), atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_the_second_look_of_what_is_compared_moves_points():
    net, image = built("AI-SAM that looks twice"), torch.rand(3, 3, 64, 64)
    twice = net.segment(image)
    net.second_look = False
    once = net.segment(image)
    moved = (twice.prompts.points_xy - once.prompts.points_xy).nan_to_num().abs() > 1
    assert moved.flatten(1).sum(1).gt(4).all()
    assert ((twice.logits - once.logits).abs().amax((1, 2, 3)) > 1e-2).all()


@pytest.mark.slow
@torch.no_grad()
def test_a_mean_is_scripted_whole():
    net = Mean([built("AM-SAM"), built("plain")]).eval()
    image = torch.rand(2, 3, 40, 90)
    torch.testing.assert_close(torch.jit.script(net)(image), net(image), atol=1e-3, rtol=1e-4)


def test_a_complete_adapter_is_a_state():
    net, other = built("AM-SAM"), SYSTEMS["AM-SAM"]()
    frozen = other.sam.image_encoder.state_dict()
    other.load_state_dict(net.adapter_state_dict())
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in other.adapter_state_dict().items())
    assert all(torch.equal(value, frozen[name]) for name, value in other.sam.image_encoder.state_dict().items())
    part = dict(list(net.adapter_state_dict().items())[1:])
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(part)
