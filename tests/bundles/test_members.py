"""One model file from those of the members, and the other way round."""

import pytest
import torch

from amsam_monai import load
from amsam_monai.bundles.members import join_models, mean_settings, member_settings, split_model
from amsam_monai.bundles.model_file import read_model, write_model
from amsam_monai.bundles.network import build_network, load_model
from amsam_monai.bundles.settings import Settings
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.networks.detector.licence import licence_text, write_licence
from amsam_monai.networks.sam import build_sam
from tests.networks.test_amsam import FixedDetector

BLOCK = {"classes": {"liver": 6, "spleen": 1}, "intensity": {"mode": "min_max"}, "label_values": "own"}
MEMBERS = {
    "plain": {"system": "amsam", "arguments": {"encoder": "full", "decoder": "all", "lora_rank": 0}},
    "other": {"system": "aisam", "arguments": {"depth": 1, "num_points": 2, "gate": False, "encoder": "frozen"}},
}


def block(name, weights=None, side=64, **changes):
    return {
        **BLOCK,
        **MEMBERS[name],
        "sam": {"backbone": "vit_nano", "weights": weights, "image_size": side},
        **changes,
    }


@pytest.fixture
def models(tmp_path):
    """Model files of two networks of different squares on one SAM."""
    torch.manual_seed(2)
    weights = str(tmp_path / "nano_sam.pth")
    torch.save(build_sam("vit_nano", image_size=64).state_dict(), weights)
    files = []
    for name, side in (("plain", 96), ("other", 64)):
        settings = block(name, weights, side)
        files.append(tmp_path / f"{name}.pt")
        save_adapter(build_network(settings), files[-1], settings=settings, recipe={"name": "ours", "version": "1"})
    return files


def test_a_mean_in_one_file_is_the_mean_of_the_files(models, tmp_path):
    joined = join_models(models, tmp_path / "joined" / "model.pt")
    loaded = load_model(joined)
    image = torch.rand(1, 3, 50, 70)
    with torch.no_grad():
        shares = [load_model(file).network(image).softmax(1) for file in models]
        torch.testing.assert_close(loaded.network(image).softmax(1), (shares[0] + shares[1]) / 2)
    assert [one.image_size for one in member_settings(loaded.settings)] == [96, 64]
    assert {name: loaded.made[name] for name in ("sam", "recipe")} == {
        "sam": read_model(models[0]).made["sam"],
        "recipe": {"name": "ours", "version": "1"},
    }


def test_members_come_back_as_they_were(models, tmp_path):
    joined = join_models(models, tmp_path / "model.pt")
    for file, again in zip(models, split_model(joined, [tmp_path / f"{n}" / "model.pt" for n in "ab"]), strict=True):
        first, second = read_model(file), read_model(again)
        assert second.settings == first.settings
        assert second.made["sam"] == first.made["sam"]
        assert first.adapter.keys() == second.adapter.keys()
        assert all(torch.equal(value, second.adapter[name]) for name, value in first.adapter.items())


def test_a_mean_segments_and_tells_what_training_fixed(models, tmp_path):
    model = load(join_models(models, tmp_path / "model.pt"), device="cpu")
    label = model.segment((torch.rand(40, 50) * 255).byte().numpy()).label
    assert label.shape == (40, 50)
    with pytest.raises(ValueError, match=r"settings.arguments.members must be \[.*as the model was trained"):
        model.settings.changed({"arguments": {"members": model.settings.arguments["members"][:1]}})
    with pytest.raises(ValueError, match=r"settings.system must be 'mean', .* got 'amsam'"):
        model.settings.changed({"system": "amsam"})


def test_a_detector_is_that_of_the_member_which_takes_it():
    members = [{"system": "amsam"}, {"system": "amsam", "detector": True, "image_size": 96}]
    told = {"system": "mean", "arguments": {"members": members}, "detector": {"file": "detector.pth"}}
    detector = FixedDetector(classes=2)
    network = build_network({**block("plain"), **told}, detector=detector)
    assert [member.detector for member in network.members] == [None, detector]
    assert network.detector is detector
    settings = Settings.of({**block("plain"), **told})
    assert [one.detector for one in member_settings(settings)] == [None, {"file": "detector.pth"}]
    assert mean_settings(member_settings(settings)) == settings
    with pytest.raises(ValueError, match="one detector at most, got several"):
        mean_settings(member_settings(settings)[1:] * 2)


def test_a_detector_goes_with_its_licence_from_file_to_file(models, tmp_path):
    plain, folder = read_model(models[0]), tmp_path / "with"
    folder.mkdir()
    settings = Settings.of({**plain.settings.to_mapping(), "detector": {"file": "detector.pth"}})
    write_model(folder / "model.pt", plain.adapter, settings, made=plain.made)
    (folder / "detector.pth").write_bytes(b"weights")
    write_licence(folder / "detector.pth")
    joined = join_models([folder / "model.pt", models[1]], tmp_path / "joined" / "model.pt")
    split_model(joined, [tmp_path / name / "model.pt" for name in ("first", "second")])
    for name in ("joined", "first"):
        assert (tmp_path / name / "detector.pth").read_bytes() == b"weights"
        assert (tmp_path / name / "detector.LICENSE").read_text(encoding="utf-8") == licence_text()
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["model.pt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": {"liver": 6}}, r"they differ in \['classes'\]"),
        ({"intensity": {"mode": "percentile"}}, r"they differ in \['intensity'\]"),
        ({"weights": "mobile_sam"}, r"they differ in \['sam'\]"),
    ],
)
def test_members_that_disagree_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        mean_settings([Settings.of(block("plain")), Settings.of(block("other", **changes))])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (None, r"members must be a list of \{system, ...\}, got None"),
        ([{"system": "mean"}], "systems that are no mean themselves, got 'mean'"),
        ([{"system": "mine"}], "systems that are no mean themselves, got 'mine'"),
        ([{"system": "amsam", "side": 64}], "arguments.members must be among .*, got 'side'"),
        ([{"system": "amsam", "arguments": {"gate": False}}], "arguments must be among .*, got 'gate'"),
    ],
)
def test_members_that_are_none_are_refused(members, message):
    with pytest.raises(ValueError, match=message):
        Settings.of({**block("plain"), "system": "mean", "arguments": {"members": members}})
