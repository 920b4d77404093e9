"""The box detector: what it sees, what it answers, and its files."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

pytest.importorskip("ultralytics", reason="the detector extra is not installed")

from amsam_monai.cli import app
from amsam_monai.networks.convert.detector import bring_over_detector
from amsam_monai.networks.detector.detector import BoxDetector, pretrained_detector
from amsam_monai.networks.detector.files import load_detector, save_detector, write_detector
from amsam_monai.networks.detector.licence import licence_text
from amsam_monai.networks.detector.scores import score_detector
from amsam_monai.networks.detector.views import Augmentation, Scene, random_view
from amsam_monai.networks.detector.voting import vote
from amsam_monai.networks.detector.yolo import build_model, read_checkpoint, ultralytics_module
from amsam_monai.networks.prompts.boxes import box_iou
from tests.networks.yolo_fixtures import write_tiny_yolo

STILL = Augmentation(rotate=0, zoom=0, shift=0, shear=0, flip_x=0, flip_y=0, light=0, hue=0, noise=0)


class ScriptedYolo(nn.Module):
    """Answers like an Ultralytics model with the given boxes (centre, size), whatever it sees; remembers that."""

    def __init__(self, centre_size, scores):
        super().__init__()
        self.answer = torch.cat([torch.tensor(centre_size), torch.tensor(scores)], dim=1).T[None]  # (1, 4 + nc, A)

    def forward(self, pixels):
        self.seen = pixels
        return self.answer.expand(len(pixels), -1, -1), None


def scripted(centre_size, scores, **options):
    options = {"flips": False, "image_size": 64, "class_names": ["a", "b"][: len(scores[0])], **options}
    return BoxDetector(ScriptedYolo(centre_size, scores), **options)


@pytest.fixture(scope="session")
def tiny_yolo(tmp_path_factory):
    return write_tiny_yolo(tmp_path_factory.mktemp("yolo"))


def square(size=64, low=20, high=44):
    image = torch.full((3, size, size), 0.2)
    image[:, low:high, low:high] = 0.9
    label = torch.zeros(1, size, size, dtype=torch.long)
    label[:, low:high, low:high] = 1
    return image, label


def test_the_best_box_of_each_class_comes_back_in_pixels_of_the_image():
    detector = scripted([[32.0, 16, 20, 10], [10, 10, 4, 4]], [[0.9, 0.1], [0.2, 0.6]])
    boxes, confidence = detector(torch.rand(1, 3, 64, 128))  # wide: scaled by a half, padded below
    assert boxes.tolist() == [[[44, 22, 84, 42], [16, 16, 24, 24]]]
    assert confidence.tolist() == [pytest.approx([0.9, 0.6])]


def test_what_the_detector_sees_keeps_its_aspect_and_is_padded_grey():
    detector = scripted([[32.0, 16, 20, 10]], [[0.9]])
    detector(torch.ones(1, 3, 32, 64))
    assert detector.model.seen.shape == (1, 3, 64, 64)
    assert detector.model.seen[0, :, :32].eq(1).all()
    assert detector.model.seen[0, :, 32:].sub(114 / 255).abs().max() < 1e-6


def test_below_the_confidence_floor_there_is_no_box():
    boxes, confidence = scripted([[32.0, 32, 20, 10]], [[0.3, 0.01]], confidence=0.05)(torch.rand(2, 3, 64, 64))
    assert boxes[:, 0].isfinite().all()
    assert boxes[:, 1].isnan().all()
    assert confidence[0].tolist() == pytest.approx([0.3, 0.01])


def test_a_box_ends_at_the_border_of_the_image():
    boxes, _ = scripted([[60.0, 4, 20, 20]], [[0.9]])(torch.rand(1, 3, 64, 64))
    assert boxes.tolist() == [[[50, 0, 64, 14]]]


def test_classes_can_be_chosen_and_ordered():
    detector = scripted([[32.0, 32, 20, 10], [10, 10, 4, 4]], [[0.9, 0.1], [0.2, 0.6]], classes=[1])
    assert detector.num_classes == 1
    assert detector(torch.rand(1, 3, 64, 64))[0].tolist() == [[[8, 8, 12, 12]]]


def test_the_mirrored_image_votes_at_its_mirrored_place():
    detector = scripted([[16.0, 32, 20, 20]], [[0.9]], flips=True, vote_iou=1.0)
    boxes, scores = detector.candidates(torch.rand(1, 3, 64, 64))
    assert boxes.tolist() == [[[6, 22, 26, 42], [38, 22, 58, 42]]]
    assert scores.shape == (1, 2, 1)


def test_boxes_that_overlap_the_best_one_vote_by_score_and_others_do_not():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]]])
    mean, confidence = vote(boxes, torch.tensor([[[0.6], [0.3], [0.5]]]), 0.6)
    assert mean[0, 0].tolist() == pytest.approx([2 / 3, 0, 10 + 2 / 3, 10])
    assert float(confidence) == pytest.approx(0.6)
    assert vote(boxes, torch.tensor([[[0.6], [0.3], [0.5]]]), 1.0)[0][0, 0].tolist() == [0, 0, 10, 10]


class TestObjects:
    """A box for each object of a class."""

    THREE_OF_ONE = ([16.0, 16, 20, 20], [17, 16, 20, 20], [16, 17, 20, 20])

    def test_each_object_has_one_box_and_the_first_is_that_of_the_class_alone(self):
        detector = scripted([*self.THREE_OF_ONE, [48, 40, 12, 16]], [[0.6], [0.9], [0.3], [0.5]])
        image = torch.rand(2, 3, 64, 64)
        boxes, confidence = detector.objects(image)
        assert boxes.shape == (2, 1, 2, 4)
        assert boxes[0, 0, 1].tolist() == [42, 32, 54, 48]
        assert confidence[0, 0].tolist() == pytest.approx([0.9, 0.5])
        torch.testing.assert_close(boxes[:, :, 0], detector(image)[0])

    def test_further_objects_have_a_floor_of_their_own(self):
        detector = scripted([[16.0, 16, 20, 20], [48, 40, 12, 16]], [[0.1], [0.09]], confidence=0.05)
        boxes, _ = detector.objects(torch.rand(1, 3, 64, 64))
        assert boxes[0, 0].isnan().all(-1).tolist() == [False]
        detector.object_confidence = 0.08
        assert detector.objects(torch.rand(1, 3, 64, 64))[0][0, 0].isfinite().all(-1).tolist() == [True, True]

    def test_there_are_no_more_of_them_than_the_knob_says(self):
        places = [[8.0 + 8 * n, 8.0, 6, 6] for n in range(6)]
        detector = scripted(places, [[0.9]] * 6, most_objects=4)
        assert detector.objects(torch.rand(1, 3, 64, 64))[0].shape == (1, 1, 4, 4)

    def test_each_class_has_its_own(self):
        detector = scripted([[16.0, 16, 20, 20], [48, 40, 12, 16]], [[0.9, 0.1], [0.4, 0.6]])
        boxes, _ = detector.objects(torch.rand(1, 3, 64, 64))
        assert boxes[0].isfinite().all(-1).tolist() == [[True, True], [True, False]]
        assert boxes[0, 1, 0].tolist() == [42, 32, 54, 48]

    def test_all_rounds_at_once_give_the_same(self, monkeypatch):
        detector = scripted([*self.THREE_OF_ONE, [48, 40, 12, 16]], [[0.6], [0.9], [0.3], [0.5]], most_objects=3)
        boxes, _ = detector.objects(torch.rand(1, 3, 64, 64))
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # no value may be read back then
        padded, _ = detector.objects(torch.rand(1, 3, 64, 64))
        assert padded.shape == (1, 1, 3, 4)
        torch.testing.assert_close(padded[:, :, :2], boxes)
        assert padded[:, :, 2].isnan().all()

    def test_a_box_outside_of_the_image_is_none(self):
        detector = scripted([[16.0, 16, 20, 20], [48, 60, 12, 6]], [[0.9], [0.8]])
        boxes, _ = detector.objects(torch.rand(1, 3, 32, 64))  # the lower half is padding
        assert boxes[0, 0].isnan().any(-1).tolist() == [False, True]

    def test_what_cannot_be_is_refused(self):
        with pytest.raises(ValueError, match=r"most_objects must be at least 1, object_overlap in \(0, 1\], got 0"):
            scripted([[16.0, 16, 20, 20]], [[0.9]], most_objects=0)


def test_contrast_moves_the_box_to_the_edges_of_the_dark_object():
    image = torch.full((1, 3, 64, 64), 0.8)
    image[..., 20:40, 24:48] = 0.3
    plain, sharp = (scripted([[32.0, 32, 50, 50]], [[0.9]], snap_to_dark_object=contrast) for contrast in (False, True))
    true = torch.tensor([24.0, 20, 48, 40])
    assert box_iou(plain(image)[0][0, 0], true) < 0.3
    assert box_iou(sharp(image)[0][0, 0], true) > 0.8


def test_other_sizes_vote_too():
    class Grows(ScriptedYolo):
        def forward(self, pixels):  # surer, and smaller, where the square is larger
            answer = self.answer.clone()
            answer[:, 4] = pixels.shape[-1] / 200
            return answer.expand(len(pixels), -1, -1), None

    options = {"flips": False, "image_size": 64, "class_names": ["a"], "vote_iou": 1.0}
    model = Grows([[32.0, 32, 16, 16]], [[0.5]])
    image = torch.rand(1, 3, 64, 64)
    boxes, confidence = BoxDetector(model, more_sizes=[128], **options)(image)
    assert boxes[0, 0].tolist() == [12.0, 12, 20, 20]  # the larger square's, in pixels of the image
    assert confidence.item() == pytest.approx(0.64)
    with pytest.raises(ValueError, match="positive multiple of 32, got 100"):
        BoxDetector(model, more_sizes=[100], **options)


def test_an_end_to_end_head_is_understood():
    detector = scripted([[0.0, 0, 0, 0]], [[0.0, 0.0]])
    detector.model.answer = torch.tensor([[[1.0, 2, 3, 4, 0.7, 1], [5, 6, 7, 8, 0.4, 0], [0, 0, 9, 9, 0.2, 0]]])
    boxes, confidence = detector(torch.rand(1, 3, 64, 64))
    assert boxes.tolist() == [[[5, 6, 7, 8], [1, 2, 3, 4]]]
    assert confidence[0].tolist() == pytest.approx([0.4, 0.7])


def test_one_image_does_not_depend_on_its_batch_mates(tiny_yolo):
    detector = pretrained_detector(tiny_yolo, image_size=64, confidence=0.0)
    images = torch.rand(3, 3, 50, 64)
    together = detector(images)[1]
    alone = torch.cat([detector(image[None])[1] for image in images])
    torch.testing.assert_close(together, alone)


def test_the_detector_is_frozen_and_stays_so_inside_a_network(tiny_yolo):
    network = nn.ModuleDict({"detector": pretrained_detector(tiny_yolo, image_size=64)}).train()
    assert not any(module.training for module in network.detector.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="image_size must be a positive multiple of 32, got 100"):
        scripted([[0.0, 0, 0, 0]], [[0.0]], image_size=100)
    with pytest.raises(ValueError, match=r"classes must be in 0\.\.0, got \[3\]"):
        scripted([[0.0, 0, 0, 0]], [[0.0]], classes=[3])


@pytest.mark.parametrize("family", ["yolo26", "yolov8"])
def test_a_saved_detector_comes_back(tmp_path, family):
    detector = pretrained_detector(
        write_tiny_yolo(tmp_path, family, classes=3),
        image_size=64,
        more_sizes=[96],
        confidence=0.0,
        classes=[2],
        snap_to_dark_object=True,
    )
    save_detector(detector, tmp_path / "detector.pth")
    again = load_detector(tmp_path / "detector.pth")
    image = torch.rand(1, 3, 40, 64)
    assert again.class_names == ["thing 0", "thing 1", "thing 2"]
    assert (again.image_size, again.more_sizes, again.confidence, again.classes) == (64, [96], 0.0, [2])
    assert again.snap_to_dark_object
    torch.testing.assert_close(again(image), detector(image), rtol=0.02, atol=0.5)  # fp16 on disk
    assert load_detector(tmp_path / "detector.pth", confidence=2.0)(image)[0].isnan().all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.LICENSE", "detector.pth", f"{family}.pt"]
    assert (tmp_path / "detector.LICENSE").read_text(encoding="utf-8") == licence_text()


def test_the_file_holds_no_code_and_others_may_read_it(tmp_path, tiny_yolo):
    save_detector(pretrained_detector(tiny_yolo), tmp_path / "detector.pth")
    (tmp_path / "ordinary").touch()
    assert (tmp_path / "detector.pth").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    content = torch.load(tmp_path / "detector.pth", weights_only=True)
    assert set(content) == {"format", "config", "made", "state_dict"}
    assert json.loads(json.dumps(content["config"]))["image_size"] == 320
    assert {value.dtype for value in content["state_dict"].values()} <= {torch.float16, torch.int64}


def test_a_damaged_detector_is_refused_with_the_path_and_what_to_do(tmp_path, tiny_yolo):
    path = tmp_path / "detector.pth"
    save_detector(pretrained_detector(tiny_yolo), path)
    content = torch.load(path, weights_only=True)
    name = next(iter(content["state_dict"]))
    for change, message in [
        (lambda weight: weight.flatten()[0].add_(0.5), r"detector.pth is damaged: .* digest .*train-detector"),
        (lambda weight: weight.flatten()[0].fill_(torch.nan), rf"NaN or infinite values in {name}.*train-detector"),
    ]:
        change(content["state_dict"][name])
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            load_detector(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"detector.pth is damaged or not a checkpoint .*train-detector"):
        load_detector(path)


def test_a_detector_that_diverged_is_not_written(tmp_path, tiny_yolo):
    detector = pretrained_detector(tiny_yolo)
    next(detector.parameters()).data.fill_(torch.inf)
    with pytest.raises(ValueError, match=r"is not written: .* NaN or infinite"):
        save_detector(detector, tmp_path / "detector.pth")
    assert not (tmp_path / "detector.pth").exists()


def test_what_training_fixed_in_a_detector_is_not_overridden(tmp_path, tiny_yolo):
    save_detector(pretrained_detector(tiny_yolo, image_size=64), tmp_path / "detector.pth")
    with pytest.raises(ValueError, match=r"image_size must be 64, as the detector was trained, got 128"):
        load_detector(tmp_path / "detector.pth", image_size=128)


def test_a_detector_of_before_is_brought_over_with_its_weights(tmp_path, tiny_yolo):
    detector = pretrained_detector(tiny_yolo, snap_to_dark_object=True)
    config = detector.config()
    config["contrast"] = config.pop("snap_to_dark_object")
    del config["more_sizes"]  # the oldest do not say it
    state = {name: value.half() for name, value in detector.model.state_dict().items()}
    old = {"format": "amsam_monai.detector/1", "config": config, "state_dict": state}
    torch.save(old, tmp_path / "old.pth")
    with pytest.raises(ValueError, match=r"bring it over by `amsam convert detector .*old.pth"):
        load_detector(tmp_path / "old.pth")
    bring_over_detector(tmp_path / "old.pth", tmp_path / "new.pth")
    new = load_detector(tmp_path / "new.pth")
    assert (new.snap_to_dark_object, new.more_sizes) == (True, [])
    assert all(value.half().equal(state[name]) for name, value in new.model.state_dict().items() if name in state)
    with pytest.raises(ValueError, match="it is in the present format already"):
        bring_over_detector(tmp_path / "new.pth", tmp_path / "newer.pth")


def test_a_detector_in_the_present_format_is_told_to_be_so_and_copied(tmp_path, tiny_yolo):
    source, target = tmp_path / "detector.pth", tmp_path / "other.pth"
    save_detector(pretrained_detector(tiny_yolo), source)
    before = source.read_bytes()
    for arguments in ([source], [source, source], [source, source, "--overwrite"]):
        result = CliRunner().invoke(app, ["convert", "detector", *map(str, arguments)])
        assert (result.exit_code, result.output) == (0, f"{source}: in the present format already\n")
    result = CliRunner().invoke(app, ["convert", "detector", str(source), str(target)])
    assert (result.exit_code, target.read_bytes(), source.read_bytes()) == (0, before, before)
    assert f"{target}: a copy of it" in result.output
    again = CliRunner().invoke(app, ["convert", "detector", str(source), str(target)])
    assert again.exit_code == 1
    assert "give --overwrite" in again.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "__import__('pathlib').Path('ran').touch()"}, "activation must be one of"),
        ({"backbone": [[-1, 1, "__import__", ["os"]]]}, "a layer must be one of"),
        ({"backbone": [[-1, 1, "nn.ModuleList", []]]}, "a layer must be one of"),
        ({"backbone": [[-1, 1, "Conv", ["ch", 3, 2]]]}, "an argument of a layer must be a number or one of"),
        ({"backbone": [[-1, 1, "Conv", [1e9, 3, 2]]]}, "must be a number up to 2048"),
        ({"backbone": [[-1, 1, "Conv", [64, 3, 2]]] * 300}, "at most 100 layers"),
        ({"backbone": [[-1, 4000, "Conv", [64, 3, 2]]]}, "repeats must be a number up to 16"),
        ({"scales": {"n": [2000, 1, 1024]}}, "a scale's multiplier must be a number up to 4"),
        ({"scales": {"n": [1, 1]}}, r"a scale must be \[repeats, channels, most channels\]"),
        ({"scales": {"n": [4, 4, 2048]}}, "at most 400000000 weights"),
        ({"backbone": [[-1, 1, "Conv", [64, 3, 2]]]}, "its layers must fit each other, got"),
    ],
)
def test_text_in_an_architecture_is_never_run(tmp_path, tiny_yolo, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    content = torch.load(tiny_yolo, weights_only=False)
    content["model"].yaml.update(change)
    torch.save(content, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=message):
        pretrained_detector(tmp_path / "evil.pt")
    save_detector(pretrained_detector(tiny_yolo), tmp_path / "detector.pth")
    content = torch.load(tmp_path / "detector.pth", weights_only=True)
    config = {**content["config"], "architecture": {**content["config"]["architecture"], **change}}
    write_detector(tmp_path / "detector.pth", config, content["state_dict"])
    with pytest.raises(ValueError, match=message):
        load_detector(tmp_path / "detector.pth")
    assert not (tmp_path / "ran").exists()


def test_a_known_activation_is_built(tiny_yolo):
    architecture, names, _ = read_checkpoint(tiny_yolo)
    model = build_model({**architecture, "activation": "nn.ReLU()"}, len(names))
    assert any(isinstance(module, nn.ReLU) for module in model.modules())


def test_a_name_that_monai_label_would_take_for_the_network_is_refused(tmp_path, tiny_yolo):
    with pytest.raises(ValueError, match=r"must not end in \.pt, got detector\.pt; name it detector\.pth"):
        save_detector(pretrained_detector(tiny_yolo), tmp_path / "detector.pt")


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="amsam train-detector"):
        load_detector(tmp_path / "none.pth")
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"broken\.pth"):
        load_detector(tmp_path / "broken.pth")
    with pytest.raises(FileNotFoundError, match="amsam weights fetch"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="must be an Ultralytics checkpoint"):
        read_checkpoint(tmp_path / "broken.pth")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="must be an Ultralytics checkpoint"):
        read_checkpoint(tmp_path / "evil.pt")


@pytest.mark.parametrize("kind", ["nn.tasks.DetectionModel", "nn.modules.conv.Conv"])
def test_a_checkpoint_that_would_make_a_layer_is_refused(kind, tmp_path, tiny_yolo):
    """Layers run text that they are given: an activation, a configuration's name."""
    folder, _, name = kind.rpartition(".")
    known, architecture = getattr(ultralytics_module(folder), name), read_checkpoint(tiny_yolo)[0]
    text = f"open({str(tmp_path / 'ran')!r}, 'w') and torch.nn.SiLU()"

    class Evil:
        def __reduce__(self):
            return known, ({**architecture, "activation": text},) if name == "DetectionModel" else (3, 3)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=f"{name} must be kept as it was trained"):
        read_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_still_view_is_the_image_and_its_boxes_are_tight():
    image, label = square()
    scene = Scene((image * 255).to(torch.uint8), label[0].to(torch.int16), torch.tensor([1]).numpy())
    view, boxes, classes = random_view(scene, 64, STILL, torch.Generator().manual_seed(0), 0.4)
    torch.testing.assert_close(view, scene.image / 255, atol=1e-5, rtol=0)
    assert boxes.tolist() == [[20, 20, 44, 44]]
    assert classes.tolist() == [1]


def test_a_tall_image_is_centred_in_its_view():
    scene = Scene(
        torch.zeros(3, 64, 32, dtype=torch.uint8), torch.ones(64, 32, dtype=torch.int16), torch.tensor([1]).numpy()
    )
    view, boxes, _ = random_view(scene, 64, STILL, torch.Generator().manual_seed(0), 0.4)
    assert boxes.tolist() == [[16, 0, 48, 64]]
    assert float(view[0, 0, 0]) == pytest.approx(0.4, abs=1e-6)


def test_turned_and_scaled_views_keep_boxes_round_the_object():
    image, label = square()
    scene = Scene((image * 255).to(torch.uint8), label[0].to(torch.int16), torch.tensor([1]).numpy())
    generator = torch.Generator().manual_seed(0)
    how = Augmentation(light=0, hue=0, noise=0)
    for _ in range(20):
        view, boxes, _ = random_view(scene, 64, how, generator, 0.0)
        bright = (view[0] > 0.6).nonzero()
        found = torch.tensor([*bright.min(0).values.flip(0), *(bright.max(0).values.flip(0) + 1)])
        assert float(box_iou(torch.tensor(boxes[0]), found)) > 0.85


def test_an_object_that_left_the_view_is_dropped():
    objects = torch.zeros(64, 64, dtype=torch.int16)
    objects[:2, :2] = 1
    scene = Scene(torch.zeros(3, 64, 64, dtype=torch.uint8), objects, torch.tensor([1]).numpy())
    how = Augmentation(rotate=0, zoom=-2, shift=0, shear=0, flip_x=0, flip_y=0)
    draws = [random_view(scene, 64, how, torch.Generator().manual_seed(seed), 0.0) for seed in range(10)]
    assert any(len(classes) == 0 and len(boxes) == 0 for _, boxes, classes in draws)


def test_scores_count_missed_objects_and_false_boxes():
    image, label = square()
    detector = scripted([[32.0, 32, 24, 12], [10, 10, 4, 4]], [[0.9, 0.0], [0.0, 0.6]])
    score = score_detector(detector, [image, image], [label, torch.zeros_like(label)])
    assert score.iou.tolist() == [pytest.approx(0.5)]
    assert (score.recall(0.5), score.recall(0.75), score.mean_iou) == (1.0, 0.0, pytest.approx(0.5))
    assert (score.false_boxes, score.absent) == (3, 3)


def test_asking_for_a_detector_without_ultralytics_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(ImportError, match=r"a box detector needs ultralytics .* pip install ultralytics"):
        build_model({}, 1)


@pytest.mark.slow
def test_a_detector_leaves_no_trace_outside_its_file(tmp_path, tiny_yolo):
    code = (
        "import os, PIL.Image, torch, numpy\n"
        "from amsam_monai.networks.detector.detector import pretrained_detector\n"
        "before = dict(os.environ), torch.save, PIL.Image.open, numpy.get_printoptions()\n"
        f"pretrained_detector({str(tiny_yolo)!r})\n"
        "assert before == (dict(os.environ), torch.save, PIL.Image.open, numpy.get_printoptions())\n"
    )
    settings = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    settings.pop("YOLO_CONFIG_DIR", None)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=settings, capture_output=True, text=True, encoding="utf-8"
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert not [path for path in tmp_path.rglob("*") if "ltralytics" in str(path)]


@pytest.mark.weights
def test_the_pretrained_yolo_finds_nothing_in_noise():
    from amsam_monai.networks.weights import store as weights

    try:
        path = weights.fetch("yolo26n", offline=True, progress=False)
    except Exception as error:  # not in the cache
        pytest.skip(f"yolo26n is not in the weights folder: {error}")
    detector = pretrained_detector(path, classes=[0], confidence=0.5)
    assert detector.class_names[0] == "person"
    assert detector(torch.rand(1, 3, 64, 64))[0].isnan().all()
