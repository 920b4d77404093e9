import pytest
import torch

from amsam_monai.bundles.model_file import amend_model, read_model, write_model
from amsam_monai.bundles.network import load_model
from amsam_monai.bundles.settings import Settings
from amsam_monai.handlers import load_adapter, save_atomically
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.networks.recorded import recorded
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.autosam import build_autosam

SETTINGS = Settings.of(
    {"system": "amsam", "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64}, "classes": {"liver": 6}}
)
ADAPTER = {"a.weight": torch.arange(6.0).reshape(2, 3).half(), "a.count": torch.tensor(7)}


def amsam(image_size=64, **arguments):
    torch.manual_seed(0)
    return AMSAM(build_sam("vit_nano", image_size=image_size), **arguments)


def aisam(**arguments):
    torch.manual_seed(0)
    return AISAM(build_sam("vit_nano", image_size=64), **{"depth": 1, "encoder": "frozen", **arguments})


def autosam(**arguments):
    torch.manual_seed(0)
    return build_autosam(build_sam("vit_nano", image_size=64), **arguments)


def test_a_file_gives_back_what_was_written_as_plain_values(tmp_path):
    made = {"sam": {"name": None, "sha256": None}, "recipe": {"name": "toy", "version": "1.0"}}
    write_model(tmp_path / "model.pt", ADAPTER, SETTINGS, made=made)
    found = read_model(tmp_path / "model.pt")
    assert found.settings == SETTINGS
    assert all(found.adapter[name].equal(ADAPTER[name]) for name in ADAPTER)
    assert found.made["recipe"] == {"name": "toy", "version": "1.0"}
    assert found.made["package"].startswith("amsam-monai ")
    assert sorted(torch.load(tmp_path / "model.pt", weights_only=True)) == ["model", "settings"]


def test_what_is_measured_later_is_put_beside_the_same_weights(tmp_path):
    path = tmp_path / "model.pt"
    write_model(path, ADAPTER, SETTINGS, made={"package": "amsam-monai 0.0.1", "recipe": {"name": "toy"}})
    before = read_model(path)
    limits = {"cases": 1, "classes": {"liver": {"parts": 3}}}
    found = amend_model(path, limits=limits)
    assert found.settings.limits == limits
    assert all(found.adapter[name].equal(ADAPTER[name]) for name in ADAPTER)
    for made in (before.made, found.made):
        made.pop("digest")
    assert found.made == before.made
    assert amend_model(path, limits=None).settings == SETTINGS
    with pytest.raises(ValueError, match=r"must be among limits, quality, got \['intensity'\]"):
        amend_model(path, intensity={})
    with pytest.raises(ValueError, match=r"limits.classes must be a mapping of liver, got 'spleen'"):
        amend_model(path, limits={"classes": {"spleen": {}}})


def test_no_flipped_bit_goes_unseen(tmp_path):
    path = tmp_path / "model.pt"
    write_model(path, ADAPTER, SETTINGS)
    whole = path.read_bytes()
    words = []
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        try:
            found = read_model(path)
        except ValueError as error:
            words.append(str(error))
        else:  # padding, or a field that no reader reads
            assert found.settings == SETTINGS
            assert all(found.adapter[name].equal(ADAPTER[name]) for name in ADAPTER)
    assert len(words) > len(whole) / 70
    assert all(str(path) in one and "weights_only" not in one for one in words)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_with_the_path_and_what_to_do(tmp_path, keep):
    path = tmp_path / "model.pt"
    write_model(path, ADAPTER, SETTINGS)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(
        ValueError, match=r"model.pt is damaged or not a checkpoint.*Copy it again from where it came, or train"
    ):
        read_model(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_neither_written_nor_read(tmp_path, value):
    path = tmp_path / "model.pt"
    bad = {**ADAPTER, "a.weight": torch.full((2, 3), value)}
    with pytest.raises(ValueError, match=r"is not written: .* NaN or infinite values in a.weight.*learning rate"):
        write_model(path, bad, SETTINGS)
    assert not path.exists()
    write_model(path, ADAPTER, SETTINGS)
    content = torch.load(path, weights_only=True)
    save_atomically({**content, "model": bad}, path)
    with pytest.raises(ValueError, match=r"model.pt: .* NaN or infinite values in a.weight. Copy it again"):
        read_model(path)


def test_files_without_a_digest_are_checked_too(tmp_path):
    """A plain network's, which has no settings, and the state of a training that was interrupted."""
    path, network = tmp_path / "model.pt", torch.nn.Linear(40, 40)
    save_adapter(network, path)
    load_adapter(network, path)
    content = bytearray(path.read_bytes())
    content[content.index(network.weight.detach().numpy().tobytes()[:16])] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.pt is damaged: .* has another checksum than was written"):
        load_adapter(network, path)
    network.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"is not written: .* NaN or infinite values in bias"):
        save_adapter(network, path)
    save_atomically({"model": network.state_dict()}, path)
    with pytest.raises(ValueError, match=r"model.pt: .* NaN or infinite values in bias"):
        load_adapter(network, path)


def test_a_file_without_settings_says_how_to_bring_it_over(tmp_path):
    save_atomically({"model": amsam().adapter_state_dict()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"must hold the settings .*`amsam convert bundle BUNDLE`"):
        read_model(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"must hold the settings .*`amsam convert bundle BUNDLE`"):
        load_adapter(amsam(), tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("trained", "other", "message"),
    [
        (amsam, lambda: amsam(image_size=128), "sam.image_size must be 64, got 128"),
        (amsam, lambda: amsam(alpha=0.0), "arguments.alpha must be 0.7, got 0.0"),
        (amsam, lambda: amsam(resize="stretch"), "resize must be 'pad', got 'stretch'"),
        (amsam, lambda: amsam(num_classes=2), "num_classes must be 1, got 2"),
        (amsam, aisam, "system must be 'amsam', got 'aisam'"),
        (aisam, lambda: aisam(box_tokens=True), "arguments.box_tokens must be False, got True"),
        (aisam, lambda: aisam(num_points=2), "arguments.num_points must be 4, got 2"),
        (autosam, lambda: autosam(prompt_size=32), "arguments.prompt_size must be None, got 32"),
        (autosam, lambda: autosam(tuned=True), "arguments.tuned must be False, got True"),
    ],
)
def test_a_network_built_otherwise_is_refused_with_both_values(tmp_path, trained, other, message):
    save_adapter(trained(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=rf"model.pt: the adapter does not fit this network: .*{message}"):
        load_adapter(other(), tmp_path / "model.pt")


def test_a_default_may_differ_and_the_log_says_so(tmp_path, caplog):
    save_adapter(aisam(), tmp_path / "model.pt")
    net = load_adapter(aisam(second_look=True, gate=False), tmp_path / "model.pt")
    assert net.second_look
    assert "arguments.second_look is True in the network, False when it was trained" in caplog.text
    assert "arguments.gate is False in the network, True when it was trained" in caplog.text


def test_the_file_says_every_argument_so_that_a_later_default_changes_nothing(tmp_path):
    save_adapter(
        amsam(alpha=0.5), tmp_path / "model.pt", settings={**SETTINGS.to_mapping(), "arguments": {"alpha": 0.5}}
    )
    found = read_model(tmp_path / "model.pt").settings
    assert found.classes == {"liver": 6}
    assert found.arguments["alpha"] == 0.5
    assert found.arguments["lora_rank"] == 4
    assert found.sam["normalise"] is True


def test_settings_of_another_network_are_not_stamped(tmp_path):
    with pytest.raises(ValueError, match=r"the settings: .*arguments.alpha must be 0.7, got 0.5"):
        save_adapter(amsam(alpha=0.5), tmp_path / "model.pt", settings=SETTINGS)


def test_a_network_comes_from_the_file_alone(tmp_path):
    trained = amsam(resize="stretch", missing_box="absent")
    with torch.no_grad():
        trained.prompt_embedding.fill_(0.5)
    classes = {
        "system": "amsam",
        "resize": "stretch",
        "arguments": {"missing_box": "absent"},
        "slices": {"batch_size": 2},
    }
    save_adapter(trained, tmp_path / "model.pt", settings={**SETTINGS.to_mapping(), **classes})
    torch.manual_seed(0)  # the frozen SAM of tests is random, and no file holds it
    found = load_model(tmp_path / "model.pt", settings={"arguments": {"dark_object_weight": 0.5}})
    image = torch.rand(1, 3, 40, 60)
    trained.dark_object_weight = 0.5
    assert found.network(image).equal(trained.eval()(image))
    assert (found.settings.labels, found.settings.slices) == ({1: "liver"}, {"batch_size": 2})
    with pytest.raises(ValueError, match=r"settings.resize must be 'stretch', .* got 'pad'"):
        load_model(tmp_path / "model.pt", settings={"resize": "pad"})


def test_a_model_of_the_callers_own_class_is_loaded_with_that_class(tmp_path):
    class Mine(AMSAM):
        @recorded
        def __init__(self, sam, *, depth=1, **settings):
            super().__init__(sam, **settings)
            self.depth = depth

    save_adapter(Mine(build_sam("vit_nano", image_size=64), depth=3), tmp_path / "model.pt")
    assert load_model(tmp_path / "model.pt", system=Mine).network.depth == 3
    with pytest.raises(ValueError, match=r"got 'Mine'; hand its class over"):
        load_model(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"arguments.depth must be 3, got 1"):
        load_adapter(Mine(build_sam("vit_nano", image_size=64)), tmp_path / "model.pt")


def test_another_pretrained_sam_is_refused_by_its_digest(tmp_path):
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        files.append(tmp_path / f"sam{seed}.pth")
        torch.save(build_sam("vit_nano", image_size=64).state_dict(), files[-1])
    first, second = (AMSAM(build_sam("vit_nano", image_size=64, weights=file)) for file in files)
    save_adapter(first, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"sam.weights must be .*sam1.pth \(sha256 .*, got .*sam2.pth \(sha256 "):
        load_adapter(second, tmp_path / "model.pt")
    moved = files[0].rename(tmp_path / "moved.pth")
    load_adapter(AMSAM(build_sam("vit_nano", image_size=64, weights=moved)), tmp_path / "model.pt")
