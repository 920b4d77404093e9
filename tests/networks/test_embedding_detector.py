"""The detector that reads SAM's embedding: its cells, what it answers, its files, and the systems that ask it."""

import pytest
import torch

from amsam_monai.bundles.arguments import DETECTORS
from amsam_monai.networks.detector.box_head import BoxHead, Cells, answering_cells, head_loss, known_head
from amsam_monai.networks.detector.embedding import EmbeddingDetector, boxes_of, embedding_of
from amsam_monai.networks.detector.files import ARCHITECTURES, load_detector, misfit, save_detector
from amsam_monai.networks.detector.scores import score_detector, score_objects
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM

SIZE, GRID = 64, 4


class Scripted(BoxHead):
    """Says the given boxes, in cells, each at one cell of its class; remembers what it was given."""

    def __init__(self, found, num_classes=1):
        super().__init__(num_classes, width=8, dilations=())
        self.found, self.seen = found, []

    def forward(self, embedding):
        self.seen.append(embedding)
        shape = (len(embedding), self.num_classes, GRID, GRID)
        there, boxes = torch.full(shape, -20.0), torch.zeros(*shape, 4)
        for k, (row, column), logit, box in self.found:
            there[:, k, row, column], boxes[:, k, row, column] = logit, torch.tensor(box)
        return Cells(there, there, boxes)


def scripted(found, classes=1, **options):
    names = ["a", "b", "c"][:classes]
    return EmbeddingDetector(
        Scripted(found, classes), **{"class_names": names, "image_size": SIZE, "flips": False, **options}
    )


def random_head(classes=1):
    torch.manual_seed(0)
    return BoxHead(classes, width=8, dilations=(1, 2))


class TestCells:
    """Which cells answer for an object, and what it costs."""

    def test_the_cells_about_an_objects_middle_answer_for_it(self):
        claimed, wanted = answering_cells(torch.tensor([[0.0, 0, 8, 4]]), torch.tensor([2]), 2, 8)
        assert not claimed[0].any()
        assert claimed[1].nonzero().tolist() == [[r, c] for r in (1, 2) for c in (2, 3, 4, 5)]
        assert wanted[1][claimed[1]].unique(dim=0).tolist() == [[0, 0, 8, 4]]

    def test_the_smallest_object_has_one_cell_and_keeps_it_from_a_larger_one_of_its_class(self):
        boxes = torch.tensor([[4.4, 4.4, 4.6, 4.6], [0.0, 0, 8, 8]])
        claimed, wanted = answering_cells(boxes, torch.tensor([1, 1]), 1, 8)
        assert wanted[0, 4, 4].tolist() == boxes[0].tolist()
        assert wanted[0, 3, 3].tolist() == boxes[1].tolist()
        claimed, wanted = answering_cells(boxes, torch.tensor([1, 2]), 2, 8)
        assert claimed[:, 4, 4].all()
        assert wanted[1, 4, 4].tolist() == boxes[1].tolist()

    def test_an_object_at_the_border_has_a_cell(self):
        claimed, _ = answering_cells(torch.tensor([[7.9, 7.9, 8.0, 8.0]]), torch.tensor([1]), 1, 8)
        assert claimed.nonzero().tolist() == [[0, 7, 7]]

    def test_a_head_begins_with_the_usual_size_and_boxes_about_its_cells(self):
        head = random_head(2)
        head.expect_sides(torch.tensor([[0.0, 0, 2, 4], [1, 1, 5, 9]]), torch.tensor([2, 2]))
        boxes = head(torch.zeros(1, 256, 8, 8)).boxes
        sides = boxes[0, 1, 3, 3, 2:] - boxes[0, 1, 3, 3, :2]
        assert sides.tolist() == pytest.approx([2**1.5, 2**2.5], rel=0.1)

    def test_the_loss_is_least_for_the_right_answer_and_bears_images_without_objects(self):
        claimed, wanted = answering_cells(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1]), 1, GRID)
        claimed, wanted = claimed[None], wanted[None]
        there = torch.where(claimed, 20.0, -20.0)
        right = head_loss(Cells(there, there, wanted), claimed, wanted)
        assert float(right) == pytest.approx(0, abs=1e-6)
        assert head_loss(Cells(-there, there, wanted), claimed, wanted) > 1
        assert head_loss(Cells(there, there, wanted + 1), claimed, wanted) > 0.1
        nothing = torch.zeros_like(claimed)
        assert float(head_loss(Cells(torch.full_like(there, -20), there, wanted), nothing, wanted)) < 1e-6

    @pytest.mark.parametrize(
        "architecture",
        [
            {"width": 12, "dilations": [1]},
            {"width": 4096, "dilations": [1]},
            {"width": 64, "dilations": [1] * 17},
            {"width": 64, "dilations": [1e9]},
            {"width": 64, "dilations": [64]},
            {"width": 64, "dilations": [1], "layers": "nn.Conv2d"},
            {"width": 64},
        ],
    )
    def test_other_architectures_are_not_built(self, architecture):
        with pytest.raises(ValueError, match=r"detector architecture: a head must have a width .* it is not built"):
            known_head(architecture)


class TestAnswers:
    """What the detector answers."""

    def test_boxes_come_back_in_pixels_of_the_image(self):
        detector = scripted([(0, (1, 1), 3.0, [0.0, 1, 2, 3]), (1, (2, 3), 2.0, [2.0, 0, 4, 1])], classes=2)
        image = torch.rand(1, 3, 64, 128)  # in the square at half its size, with nothing below
        boxes, confidence = detector(image, torch.zeros(1, 256, GRID, GRID))
        assert boxes.tolist() == [[[0, 32, 64, 64], [64, 0, 128, 32]]]
        assert confidence[0].tolist() == pytest.approx(torch.tensor([3.0, 2.0]).sigmoid().tolist())

    def test_a_class_that_is_not_seen_has_no_box_and_classes_can_be_chosen(self):
        found = [(1, (1, 1), 3.0, [0.0, 0, 2, 2])]
        boxes, _ = scripted(found, classes=2)(torch.rand(1, 3, SIZE, SIZE), torch.zeros(1, 256, GRID, GRID))
        assert boxes.isnan().all(-1).tolist() == [[True, False]]
        chosen = EmbeddingDetector(Scripted(found, 2), class_names=["a", "b"], image_size=SIZE, classes=[1])
        boxes, _ = chosen(torch.rand(1, 3, SIZE, SIZE), torch.zeros(1, 256, GRID, GRID))
        assert boxes.tolist() == [[[0, 0, 32, 32]]]

    def test_each_object_has_a_box(self):
        found = [(0, (0, 0), 3.0, [0.0, 0, 2, 2]), (0, (0, 1), 2.0, [0.0, 0, 2, 2]), (0, (3, 3), 1.0, [2.0, 2, 4, 4])]
        boxes, confidence = scripted(found).objects(torch.rand(1, 3, SIZE, SIZE), torch.zeros(1, 256, GRID, GRID))
        assert boxes.tolist() == [[[[0, 0, 32, 32], [32, 32, 64, 64]]]]
        assert confidence[0, 0].tolist() == pytest.approx(torch.tensor([3.0, 1.0]).sigmoid().tolist())

    def test_the_mirrored_embedding_votes_at_its_mirrored_place(self):
        detector = scripted([(0, (1, 1), 3.0, [0.0, 1, 2, 3])], flips=True)
        embedding = torch.rand(1, 256, GRID, GRID)
        boxes, _ = detector.looks(torch.rand(1, 3, SIZE, SIZE), embedding)
        there = (boxes[0, :, 2:] > boxes[0, :, :2]).all(-1)
        assert boxes[0, there][:2].tolist() == [[0, 16, 32, 48], [32, 16, 64, 48]]
        torch.testing.assert_close(detector.model.seen[1], embedding.flip(-1))

    def test_without_an_embedding_or_with_another_one_it_is_refused(self):
        image = torch.rand(1, 3, SIZE, SIZE)
        with pytest.raises(ValueError, match=r"reads SAM's embedding: give it with the image, as `system.encode"):
            scripted([])(image)
        with pytest.raises(ValueError, match=r"embedding must have shape \(B, 256, g, g\)"):
            scripted([])(image, torch.zeros(1, 64, GRID, GRID))


class TestFiles:
    """Written and read."""

    def test_a_file_brings_the_same_boxes_back_without_ultralytics(self, tmp_path):
        detector = EmbeddingDetector(
            random_head(2), class_names=["a", "b"], image_size=SIZE, encoder="ab", confidence=0.0, cases=["1"]
        )
        detector.model.half().float()  # as the file keeps them
        save_detector(detector, tmp_path / "detector.pth")
        again = load_detector(tmp_path / "detector.pth", object_confidence=0.6)
        assert isinstance(again, EmbeddingDetector)
        assert again.object_confidence == 0.6
        assert {**again.config(), "object_confidence": 0.5} == detector.config()
        image, embedding = torch.rand(1, 3, SIZE, 40), torch.randn(1, 256, GRID, GRID)
        torch.testing.assert_close(again(image, embedding), detector(image, embedding))

    def test_an_architecture_that_is_not_known_or_not_wanted_is_refused(self, tmp_path):
        path = tmp_path / "detector.pth"
        detector = EmbeddingDetector(random_head(), class_names=["a"], image_size=SIZE)
        save_detector(detector, path)
        with pytest.raises(
            ValueError, match="architecture must be 'embedding', as the detector was trained, got 'yolo'"
        ):
            load_detector(path, architecture="yolo")
        with pytest.raises(ValueError, match="more_sizes must be options of EmbeddingDetector"):
            load_detector(path, more_sizes=[64])
        detector.architecture = "other"
        save_detector(detector, path)
        with pytest.raises(ValueError, match="architecture must be one of yolo, embedding, got 'other'"):
            load_detector(path)

    def test_no_flipped_bit_goes_unseen(self, tmp_path):
        path, detector = tmp_path / "detector.pth", EmbeddingDetector(random_head(), class_names=["a"], image_size=SIZE)
        save_detector(detector, path)
        whole, wanted, words = path.read_bytes(), load_detector(path).model.state_dict(), []
        for position in range(0, len(whole), 97):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
            try:
                found = load_detector(path)
            except ValueError as error:
                words.append(str(error))
            else:  # padding, or a field that no reader reads
                assert found.config() == detector.config()
                assert all(value.equal(wanted[name]) for name, value in found.model.state_dict().items())
        assert len(words) > len(whole) / 97 / 4
        assert all(str(path) in one and "weights_only" not in one for one in words)

    def test_what_a_file_does_not_fit_is_told(self, tmp_path):
        path, network = tmp_path / "detector.pth", AMSAM(build_sam("vit_nano", image_size=SIZE))
        save_detector(EmbeddingDetector(random_head(), class_names=["a"], image_size=SIZE), path)
        assert misfit(path, "embedding", network) is None
        assert misfit(path, "yolo") == "the architecture embedding"
        save_detector(EmbeddingDetector(random_head(), class_names=["a"], image_size=128), path)
        assert "embeddings of another encoder (128 px, pad)" in str(misfit(path, "embedding", network))

    def test_the_settings_know_the_same_architectures(self):
        assert tuple(ARCHITECTURES) == DETECTORS


class TestInASystem:
    """AM-SAM and AI-SAM hand the embedding over, and have one that it was fitted on."""

    FOUND = ((0, (1, 1), 3.0, [0.0, 1, 2, 2]),)

    @pytest.mark.parametrize("objects", ["one", "all"])
    def test_am_sams_boxes_come_from_its_own_embedding(self, objects):
        detector = scripted(self.FOUND)
        net = AMSAM(build_sam("vit_nano", image_size=SIZE), detector=detector, objects=objects).eval()
        image = torch.rand(1, 3, 32, 64)
        answer = net.segment(image)
        box = answer.prompts.box_xyxy if objects == "one" else answer.prompts.object_boxes[:, :, 0]
        assert box.tolist() == [[[0, 16, 32, 32]]]
        torch.testing.assert_close(detector.model.seen[-1], net.encode(image))

    def test_ai_sams_boxes_do_too(self):
        detector = scripted(self.FOUND)
        sam = build_sam("vit_nano", image_size=SIZE)
        net = AISAM(sam, depth=1, encoder="frozen", box_source="detector", detector=detector).eval()
        image = torch.rand(1, 3, SIZE, SIZE)
        net.segment(image)
        torch.testing.assert_close(detector.model.seen[-1], net.encode(image))

    def test_an_encoder_that_trains_is_refused(self):
        with pytest.raises(ValueError, match=r"needs an encoder that stays as it is; set encoder='frozen'"):
            AMSAM(build_sam("vit_nano", image_size=SIZE), detector=scripted([]), encoder="full")

    @pytest.mark.parametrize(
        ("options", "said"), [({"image_size": 128}, "image_size"), ({"resize": "stretch"}, "resize")]
    )
    def test_another_square_than_it_was_fitted_on_is_refused(self, options, said):
        with pytest.raises(ValueError, match=f"{said} must be .*, as the detector was fitted on"):
            AMSAM(build_sam("vit_nano", image_size=SIZE), detector=scripted([], **options))

    def test_a_detector_that_reads_the_image_alone_is_given_nothing_else(self):
        image = torch.rand(1, 3, 8, 8)
        assert boxes_of(lambda seen: (seen, seen), image, torch.zeros(1))[0] is image


class TestScores:
    """Recall and precision for each object."""

    def test_objects_are_counted_by_size_and_by_number(self):
        label = torch.zeros(SIZE, SIZE, dtype=torch.long)
        label[0:32, 0:32] = 1
        label[60:64, 56:64] = 1
        alone = torch.zeros(SIZE, SIZE, dtype=torch.long)
        alone[32:64, 32:64] = 1
        found = [(0, (0, 0), 3.0, [0.0, 0, 2, 2]), (0, (3, 3), 1.0, [2.0, 0, 4, 2])]
        images, labels = torch.rand(2, 3, SIZE, SIZE), [label, alone]
        encode = embedding_of(build_sam("vit_nano", image_size=SIZE))
        score = score_objects(scripted(found), images, labels, encode=encode)
        assert (score.recall, score.precision) == (pytest.approx(1 / 3), 1 / 4)
        groups = score.groups()
        assert (groups["large"]["objects"], groups["large"]["recall"], groups["large"]["precision"]) == (2, 0.5, 0.25)
        assert (groups["medium"]["objects"], groups["medium"]["recall"], groups["medium"]["boxes"]) == (1, 0, 0)
        assert (groups["two to four"]["objects"], groups["two to four"]["recall"]) == (2, 0.5)
        assert (groups["one"]["objects"], groups["one"]["iou"], groups["one"]["boxes"]) == (1, 0, 2)
        assert score_detector(scripted(found), images, labels, encode=encode).iou.shape == (2,)

    def test_two_boxes_on_one_object_are_one_right_and_one_wrong(self):
        label = torch.zeros(SIZE, SIZE, dtype=torch.long)
        label[0:32, 0:32] = 1
        found = [(0, (0, 0), 3.0, [0.0, 0, 2, 2]), (0, (0, 1), 2.0, [0.0, 0, 2, 1.1])]
        encode = embedding_of(build_sam("vit_nano", image_size=SIZE))
        detector = scripted(found, object_overlap=0.6)
        score = score_objects(detector, [torch.rand(3, SIZE, SIZE)], [label], encode=encode)
        assert (score.recall, score.precision) == (1, 0.5)
