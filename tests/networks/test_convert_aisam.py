import pytest
import torch
from typer.testing import CliRunner

from amsam_monai.cli import app
from amsam_monai.networks.convert import aisam_checkpoint, aisam_state_dict
from amsam_monai.networks.prompts.ai_prompter import AIPrompter
from amsam_monai.networks.prompts.presence_classifier import PresenceClassifier
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from tests.reference import aisam_golden as golden


def prompt_state(classes=3, points=2, tokens=4):
    shapes = golden.published_shapes(classes, points, tokens, width=32)
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def published():
    """A whole published checkpoint, with a nano SAM in place of ViT-H."""
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    state = {}
    for name, value in sam.state_dict().items():
        wrapped = name.replace(".attn.qkv.", ".attn.qkv.qkv.")
        state[wrapped] = value
        state[f"sam.sam.{wrapped}"] = value
    for block in (0, 1):
        for projection in "qv":
            stem = f"image_encoder.blocks.{block}.attn.qkv.linear"
            state[f"{stem}_a_{projection}.weight"] = torch.randn(4, 32)
            state[f"{stem}_b_{projection}.weight"] = torch.randn(32, 4)
    state["mask_decoder.mask_tokens.weight"] = state["mask_decoder.mask_tokens.weight"] + 1  # the decoder was trained
    return state | {f"auto_prompt.{name}": value for name, value in prompt_state().items()}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return AISAM(build_sam("vit_nano", image_size=64), num_classes=2, num_points=2, num_class_tokens=4)


@pytest.mark.parametrize("prefix", ["", "auto_prompt."])
def test_both_parts_load_strictly_with_or_without_prefix(prefix):
    parts = aisam_state_dict({prefix + name: value for name, value in prompt_state().items()})
    AIPrompter(3, num_points=2, num_class_tokens=4).load_state_dict(parts["prompter"])
    PresenceClassifier(3).load_state_dict(parts["classifier"])


def test_only_what_the_published_network_never_calls_is_left_behind():
    state = golden.published_shapes(9)
    parts = aisam_state_dict({name: torch.zeros(shape) for name, shape in state.items()})
    kept = sum(value.numel() for part in parts.values() for value in part.values())
    assert sum(torch.Size(shape).numel() for shape in state.values()) == 12_150_401
    assert kept == 11_098_881


def test_a_whole_checkpoint_is_the_adapter_of_the_default_network(published, net):
    net.load_adapter_state_dict(aisam_checkpoint(published))
    torch.testing.assert_close(net.sam.mask_decoder.mask_tokens.weight, published["mask_decoder.mask_tokens.weight"])
    torch.testing.assert_close(net.prompter.point_queries, published["auto_prompt.prompt_emb"])


@torch.no_grad()
def test_encoder_lora_updates_q_and_v_as_published(published, net):
    net.load_adapter_state_dict(aisam_checkpoint(published))
    qkv, x = net.sam.image_encoder.blocks[1].attn.qkv, torch.randn(5, 32)
    update = qkv(x) - torch.nn.functional.linear(x, qkv.weight, qkv.bias)
    stem = "image_encoder.blocks.1.attn.qkv.linear"
    for rows, projection in ((slice(0, 32), "q"), (slice(64, 96), "v")):
        a, b = published[f"{stem}_a_{projection}.weight"], published[f"{stem}_b_{projection}.weight"]
        torch.testing.assert_close(update[:, rows], x @ a.T @ b.T, atol=1e-4, rtol=1e-4)
    assert (update[:, 32:64] == 0).all()


def test_the_command_writes_an_adapter_and_does_not_replace_one_unasked(published, net, tmp_path):
    source, target = tmp_path / "published.pth", tmp_path / "models" / "model.pt"
    torch.save({"model": published}, source)
    result = CliRunner().invoke(app, ["convert", "aisam", str(source), str(target)])
    assert result.exit_code == 0, result.output
    net.load_adapter_state_dict(torch.load(target, weights_only=True)["model"])
    assert [path.name for path in target.parent.iterdir()] == ["model.pt"]
    again = CliRunner().invoke(app, ["convert", "aisam", str(source), str(target)])
    assert again.exit_code == 1
    assert "give --overwrite" in again.output


def test_the_command_refuses_another_checkpoint(tmp_path):
    torch.save({"model": {"weight": torch.zeros(1)}}, tmp_path / "other.pth")
    result = CliRunner().invoke(app, ["convert", "aisam", str(tmp_path / "other.pth"), str(tmp_path / "out.pt")])
    assert result.exit_code == 1
    assert "got no prompter" in result.output
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "auto_prompt.surprise": torch.zeros(1)}, "got 1 unknown names, as 'surprise'"),
        (lambda state: {k: v for k, v in state.items() if "classifier" not in k}, "got no classifier"),
        (lambda state: {k: v for k, v in state.items() if "linear_" not in k}, "got no encoder LoRA"),
        (lambda state: {k: v for k, v in state.items() if not k.startswith("mask_d")}, "got no mask decoder"),
        (lambda state: {}, "got no prompter"),
    ],
)
def test_what_is_no_ai_sam_is_refused(published, change, message):
    with pytest.raises(ValueError, match=message):
        aisam_checkpoint(change(published))
