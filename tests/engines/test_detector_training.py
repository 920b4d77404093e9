"""The box detector's training: what moves, what does not, and what is refused."""

import pytest
import torch

pytest.importorskip("ultralytics", reason="the detector extra is not installed")

from amsam_monai.engines.detector_training import DetectorSettings, cross_fitted_boxes, train_detector
from amsam_monai.networks.detector.files import load_detector, save_detector
from amsam_monai.networks.detector.yolo import read_checkpoint
from tests.networks.yolo_fixtures import write_tiny_yolo


@pytest.fixture(scope="session")
def tiny_yolo(tmp_path_factory):
    return write_tiny_yolo(tmp_path_factory.mktemp("yolo"))


def square(size=64, low=20, high=44):
    image = torch.full((3, size, size), 0.2)
    image[:, low:high, low:high] = 0.9
    label = torch.zeros(1, size, size, dtype=torch.long)
    label[:, low:high, low:high] = 1
    return image, label


def quick(**changes):
    return DetectorSettings(**{"steps": 2, "batch_size": 2, "image_size": 64, **changes})


def test_training_gives_a_detector_of_its_own_classes(tiny_yolo):
    image, label = square()
    label[0, :5, :5] = 2
    seen = []
    detector = train_detector(
        [image, image], [label, label[0]], 2, start=tiny_yolo, class_names=["box", "corner"], settings=quick(),
        progress=lambda step, steps, loss: seen.append((step, steps, loss > 0)),
    )  # fmt: skip
    assert detector.class_names == ["box", "corner"]
    assert detector(image[None])[1].shape == (1, 2)
    assert seen == [(1, 2, True), (2, 2, True)]


def test_the_same_seed_trains_the_same_detector(tiny_yolo):
    image, label = square()
    runs = [train_detector([image], [label], 1, start=tiny_yolo, settings=quick(seed=s)) for s in (3, 3, 4)]
    states = [run.model.state_dict() for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_leading_layers_and_batch_statistics_stay_as_they_were(tiny_yolo):
    image, label = square()
    before = read_checkpoint(tiny_yolo)[2]
    after = train_detector([image], [label], 1, start=tiny_yolo, settings=quick(frozen_layers=5)).model.state_dict()
    assert torch.equal(after["model.4.cv1.conv.weight"], before["model.4.cv1.conv.weight"])
    assert torch.equal(after["model.10.cv1.bn.running_mean"], before["model.10.cv1.bn.running_mean"])
    assert not torch.equal(after["model.10.cv1.conv.weight"], before["model.10.cv1.conv.weight"])


def test_batch_statistics_follow_many_images_on_request(tiny_yolo):
    image, label = square()
    before = read_checkpoint(tiny_yolo)[2]
    settings = quick(frozen_layers=0, fit_statistics=True)
    after = train_detector([image], [label], 1, start=tiny_yolo, settings=settings).model.state_dict()
    assert not torch.equal(after["model.0.bn.running_mean"], before["model.0.bn.running_mean"])
    assert int(after["model.0.bn.num_batches_tracked"]) == 2


def test_extra_images_fill_their_share_of_a_batch(tiny_yolo):
    image, label = square()
    seen = []
    extra = [(torch.rand(3, 64, 64), label)] * 3
    plain = train_detector([image], [label], 1, start=tiny_yolo, settings=quick())
    mixed = train_detector(
        [image], [label], 1, start=tiny_yolo, extra=extra, settings=quick(), progress=lambda *step: seen.append(step)
    )
    assert len(seen) == 2
    name = "model.23.cv3.0.2.bias"
    assert not torch.equal(plain.model.state_dict()[name], mixed.model.state_dict()[name])


def test_images_without_objects_and_wrong_shapes_are_refused(tiny_yolo):
    image, label = square()
    with pytest.raises(ValueError, match=r"labels must hold an object of classes 1\.\.1, got none in 1"):
        train_detector([image], [label * 0], 1, start=tiny_yolo)
    with pytest.raises(ValueError, match=r"image must have shape \(3, H, W\) and its label \(H, W\)"):
        train_detector([image], [label[..., :32]], 1, start=tiny_yolo)
    with pytest.raises(ValueError, match="class_names must be 1 names, got 2"):
        train_detector([image], [label], 1, start=tiny_yolo, class_names=["a", "b"])


def test_a_detectors_file_can_be_what_training_starts_from(tmp_path, tiny_yolo):
    image, label = square()
    save_detector(train_detector([image], [label], 1, start=tiny_yolo, settings=quick()), tmp_path / "first.pth")
    second = train_detector(
        [image], [label], 1, start=tmp_path / "first.pth", settings=quick(learning_rate=0.0, steps=1)
    )
    first, second = load_detector(tmp_path / "first.pth").model.state_dict(), second.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_boxes_of_training_images_come_from_detectors_that_did_not_see_them(tiny_yolo, monkeypatch):
    trained_on = []

    class Spy:
        def __init__(self, images):
            self.images = images

        def __call__(self, image):
            assert not any(torch.equal(image[0], one) for one in self.images)
            return torch.full((1, 1, 4), float(len(self.images))), torch.ones(1, 1)

    def train(images, labels, num_classes, **options):
        trained_on.append(len(images))
        return Spy(images)

    monkeypatch.setattr("amsam_monai.engines.detector_training.train_detector", train)
    images = [torch.full((3, 8, 8), n / 5) for n in range(5)]
    labels = [torch.ones(1, 8, 8, dtype=torch.long)] * 5
    boxes = cross_fitted_boxes(images, labels, 1, folds=2, start=tiny_yolo)
    assert boxes.shape == (5, 1, 4)
    assert trained_on == [2, 3]
    with pytest.raises(ValueError, match=r"folds must lie in 2\.\.5"):
        cross_fitted_boxes(images, labels, 1, folds=6, start=tiny_yolo)
