"""Fitting the detector that reads SAM's embedding."""

import pytest
import torch

from amsam_monai.data.embeddings.cache import EmbeddingCache
from amsam_monai.engines.embedding_detector_training import (
    EmbeddedViews,
    EmbeddingDetectorSettings,
    train_embedding_detector,
    turned,
)
from amsam_monai.engines.fit_detector import load_or_fit_detector, with_detector
from amsam_monai.networks.detector.embedding import EmbeddingDetector, embedding_of
from amsam_monai.networks.detector.files import load_detector
from amsam_monai.networks.detector.scenes import scene_of
from amsam_monai.networks.detector.scores import score_detector
from amsam_monai.networks.sam import build_sam
from tests.engines import nano

QUICK = {"steps": 2, "views": 2, "batch_size": 2, "width": 8, "dilations": (1,)}


def sam():
    torch.manual_seed(0)
    return build_sam("vit_nano", image_size=nano.SIZE).eval()


def pairs(count=2):
    images, labels = zip(*((sample["image"], sample["label"]) for sample in nano.samples(count)), strict=True)
    return images, labels


def trained(count=2, embedder=None, **settings):
    how = EmbeddingDetectorSettings(**{**QUICK, **settings})
    return train_embedding_detector(*pairs(count), 1, sam=embedder or sam(), settings=how)


def test_it_learns_where_objects_are():
    embedder = sam()
    detector = trained(4, embedder, steps=60, views=1, batch_size=8, width=32, dilations=(1, 2), learning_rate=1e-2)
    score = score_detector(detector, *pairs(4), encode=embedding_of(embedder))
    untrained = score_detector(trained(4, embedder, steps=1), *pairs(4), encode=embedding_of(embedder))
    assert score.mean_iou > 0.6
    assert untrained.mean_iou < 0.5
    assert detector.class_names == ["class 1"]
    assert not any(parameter.requires_grad for parameter in detector.parameters())


def test_a_seed_gives_one_detector():
    first, second, third = (trained(seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


@pytest.mark.parametrize("move", range(8))
def test_boxes_turn_with_the_embedding(move):
    numbered = torch.zeros(1, 8, 8)
    numbered[0, 1:3, 2:7] = 1
    moved, boxes, _ = turned(numbered, torch.tensor([[2.0, 1, 7, 3]]), torch.tensor([1]), move)
    x1, y1, x2, y2 = boxes[0].int().tolist()
    assert moved[0, y1:y2, x1:x2].eq(1).all()
    assert moved.sum() == (x2 - x1) * (y2 - y1) == 10


def test_the_first_view_is_what_the_network_sees_and_embeddings_are_kept(tmp_path):
    embedder = sam()
    cache = EmbeddingCache(tmp_path, fingerprint={"test": 1}, dtype="float32")
    image = torch.randint(256, (3, 32, nano.SIZE)) / 255  # 8 bits, as scenes keep them
    label = torch.zeros(32, nano.SIZE, dtype=torch.long)
    label[8:16, 16:48] = 1
    scene = scene_of(image, label, 1, size=nano.SIZE)
    views = EmbeddedViews(
        [scene], sam=embedder, cache=cache, settings=EmbeddingDetectorSettings(**QUICK), num_classes=1
    )
    embedding, boxes, classes = views.view(0)
    torch.testing.assert_close(embedding, embedding_of(embedder)(image[None])[0])
    assert boxes.tolist() == [[1, 0.5, 3, 1]]
    assert classes.tolist() == [1]
    assert len(list(views)) == 2
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    embedder.encode = None  # what is kept is not computed again
    again = EmbeddedViews(
        [scene], sam=embedder, cache=cache, settings=EmbeddingDetectorSettings(**QUICK), num_classes=1
    )
    torch.testing.assert_close(again.view(1)[0], views.view(1)[0])


def test_few_images_have_many_views_and_many_one():
    image, label = pairs(1)[0][0], pairs(1)[1][0]
    scene = scene_of(image, label, 1, size=nano.SIZE)
    how = {"sam": sam(), "cache": None, "settings": EmbeddingDetectorSettings(), "num_classes": 1}
    assert len(EmbeddedViews([scene] * 8, **how).scenes) == 64
    assert len(EmbeddedViews([scene] * 200, [scene] * 3, **how).scenes) == 203


def test_phantoms_are_mixed_in():
    images, labels = pairs()
    how = EmbeddingDetectorSettings(**QUICK)
    plain = trained().model.state_dict()
    mixed = train_embedding_detector(
        images, labels, 1, sam=sam(), settings=how, extra=[(s["image"], s["label"]) for s in nano.samples(2, seed=9)]
    ).model.state_dict()
    assert any(not torch.equal(plain[name], mixed[name]) for name in plain)


def test_labels_without_any_object_are_refused():
    images, labels = pairs()
    with pytest.raises(ValueError, match=r"labels must hold an object of classes 1..1, got none in 2"):
        train_embedding_detector(images, [label * 0 for label in labels], 1, sam=sam())
    with pytest.raises(ValueError, match="class_names must be 1 names, got 2"):
        train_embedding_detector(images, labels, 1, sam=sam(), class_names=["a", "b"])


class TestOfABundle:
    """Fitted once, beside the model."""

    @staticmethod
    def fit(folder, network, **kwargs):
        told = {"class_names": ["disc"], "architecture": "embedding", "network": network, **QUICK, **kwargs}
        return load_or_fit_detector(folder / "detector.pth", nano.samples(2), **{"cases": ["a", "b"], **told})

    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))

    def test_it_is_fitted_once_and_anew_for_another_square(self, tmp_path, caplog):
        network = nano.network()
        first = self.fit(tmp_path, network)
        assert isinstance(first, EmbeddingDetector)
        written = (tmp_path / "detector.pth").stat().st_mtime_ns
        assert self.fit(tmp_path, network).cases == ["a", "b"]
        assert (tmp_path / "detector.pth").stat().st_mtime_ns == written
        net = with_detector(
            network, first, options={"file": "d", "architecture": "embedding", "object_confidence": 0.6}
        )
        assert net.detector.object_confidence == 0.6
        network.resize = "stretch"
        assert self.fit(tmp_path, network).resize == "stretch"
        assert "was fitted on embeddings of another encoder (64 px, pad); fitting it anew" in caplog.text

    def test_wishes_are_written_to_a_detector_that_is_there(self, tmp_path):
        network = nano.network()
        self.fit(tmp_path, network, learning_rate=None)
        assert self.fit(tmp_path, network, confidence=0.35).confidence == 0.35
        assert load_detector(tmp_path / "detector.pth").confidence == 0.35

    def test_other_architectures_and_encoders_that_train_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="architecture must be one of yolo, embedding, got 'other'"):
            self.fit(tmp_path, nano.network(), architecture="other")
        with pytest.raises(ValueError, match="must come with the network whose embeddings are read"):
            self.fit(tmp_path, None)
        with pytest.raises(ValueError, match="embeddings can be kept only where the image encoder is frozen"):
            self.fit(tmp_path, nano.network(encoder="full"))
