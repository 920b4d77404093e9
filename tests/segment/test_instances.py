"""Every object by a number of its own: by boxes, by connected parts, through a volume, and in files."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from amsam_monai.data.files.images import read_image
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment import instances
from amsam_monai.segment.instance_files import read_table, write_coco, write_table
from amsam_monai.segment.instances import number_objects, number_parts, number_plane
from amsam_monai.segment.object_masks import ObjectMask, distinct
from amsam_monai.segment.segmenter import Segmenter
from tests.networks.test_objects import FixedObjects
from tests.segment.toy import LABELS, Toy

LEFT, RIGHT = (16, 16, 56, 112), (72, 16, 112, 112)  # x1, y1, x2, y2


class TestTwoRectangles:
    """Two dark rectangles on a bright picture, whose masks come from the pixels: the dark object in each box."""

    @pytest.fixture
    def picture(self, tmp_path):
        pixels = np.full((128, 128, 3), 210, np.uint8)
        for x1, y1, x2, y2 in (LEFT, RIGHT):
            pixels[y1:y2, x1:x2] = 60
        Image.fromarray(pixels).save(tmp_path / "two.png")
        return tmp_path / "two.png"

    def segment(self, picture, *boxes, **slices):
        torch.manual_seed(0)
        detector = FixedObjects([[side / 2 for side in box] for box in boxes])  # in pixels of the square of 64
        net = AMSAM(build_sam("vit_nano", image_size=64), detector=detector, objects="all", dark_object_weight=0.95)
        return Segmenter(net, {1: "box"}, slices=slices)(picture, instances=True)

    def check(self, found, number, box):
        x1, y1, x2, y2 = box
        wanted = np.zeros((128, 128), bool)
        wanted[y1:y2, x1:x2] = True
        mask = found.map == number
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.8
        row = found.rows[number - 1]
        assert (row.id, row.index, row.voxels) == (number, 1, mask.sum())
        assert np.abs(np.array([*row.start, *row.stop]) - [y1, x1, y2, x2]).max() <= 8  # a cell of the masks

    def test_two_boxes_give_both_with_their_ids(self, picture):
        result = self.segment(picture, LEFT, RIGHT)
        found = result.instances
        assert found.map.dtype == np.uint16
        assert len(found.rows) == 2
        self.check(found, 1, LEFT)
        self.check(found, 2, RIGHT)
        assert np.array_equal(found.map > 0, result.label == 1)
        assert [row.score for row in found.rows] == [0.9, 0.9]

    def test_three_overlapping_boxes_of_one_object_give_one_object(self, picture):
        found = self.segment(picture, LEFT, (12, 16, 56, 100), (16, 24, 60, 116)).instances
        assert len(found.rows) == 1
        self.check(found, 1, LEFT)

    def test_mirror_images_change_no_ids(self, picture):
        found = self.segment(picture, LEFT, RIGHT, flips=["horizontal"]).instances
        assert len(found.rows) == 2
        self.check(found, 1, LEFT)
        self.check(found, 2, RIGHT)


def blob(index, box, *, value=3.0, side=32, confidence=0.9, scale=1.0):
    """An object whose mask is a box of a map of `side` cells."""
    x1, y1, x2, y2 = box
    logits = np.full((side, side), -3.0, np.float32)
    logits[y1:y2, x1:x2] = value
    return ObjectMask(index, confidence, 0.7, (0, 0), logits, (scale, scale))


class TestPlanes:
    def test_touching_objects_are_parted_where_the_other_is_surer(self):
        plane = np.zeros((32, 32), np.uint8)
        plane[4:20, 2:30] = 1
        numbered, found = number_plane(plane, [blob(1, (2, 4, 16, 20)), blob(1, (16, 4, 30, 20), confidence=0.8)])
        assert [one.pixels for one in found] == [16 * 14, 16 * 14]
        assert (numbered[4:20, 2:16] == 1).all()
        assert (numbered[4:20, 16:30] == 2).all()
        assert [round(one.score / one.pixels, 6) for one in found] == [0.9, 0.8]
        assert found[0].quality / found[0].pixels == pytest.approx(0.7)

    def test_an_object_in_two_pieces_is_one(self):
        plane = np.zeros((32, 32), np.uint8)
        plane[4:8, 4:8], plane[20:24, 4:8] = 1, 1
        numbered, found = number_plane(plane, [blob(1, (4, 4, 8, 24))])
        assert len(found) == 1
        assert np.array_equal(numbered, plane)

    def test_pixels_that_no_object_has_are_the_nearest_ones(self):
        plane = np.zeros((32, 32), np.uint8)
        plane[0:4] = 1
        corner = ObjectMask(1, 0.9, 0.7, (0, 0), np.full((4, 6), 3.0, np.float32), (1.0, 1.0))
        other = ObjectMask(1, 0.8, 0.7, (0, 20), np.full((4, 12), 3.0, np.float32), (1.0, 1.0))
        numbered, _ = number_plane(plane, [corner, other])
        assert numbered[0].tolist() == [1] * 13 + [2] * 19

    def test_a_class_without_objects_has_its_parts(self):
        plane = np.zeros((32, 32), np.uint8)
        plane[2:6, 2:6], plane[10:14, 2:6], plane[20:30, 20:30] = 2, 2, 1
        numbered, found = number_plane(plane, [blob(1, (20, 20, 30, 30))])
        assert [one.index for one in found] == [1, 2, 2]
        assert sorted(np.unique(numbered)) == [0, 1, 2, 3]

    def test_a_mask_within_a_surer_one_is_no_object_and_beside_it_is_one(self):
        whole, head = blob(1, (4, 4, 20, 28)), blob(1, (8, 4, 16, 10), confidence=0.5)
        beside, other_class = blob(1, (18, 4, 30, 28), confidence=0.4), blob(2, (4, 4, 20, 28), confidence=0.3)
        assert distinct([head, other_class, beside, whole]) == [whole, beside, other_class]

    @pytest.mark.parametrize("scale", [0.25, 0.8])
    def test_a_mask_is_interpolated_as_the_whole_map_is(self, scale):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(7, 9)).astype(np.float32)
        place, found = ObjectMask(1, 0.9, 0.7, (3, 2), logits, (scale, scale)).over((40, 40))
        whole = np.zeros((32, 32), np.float32)
        whole[3:10, 2:11] = logits
        at = (np.arange(40) + 0.5) * scale - 0.5
        wanted = ndimage.map_coordinates(whole, np.meshgrid(at, at, indexing="ij"), order=1, mode="nearest")[place]
        inner = tuple(slice(2 + int(1 / scale), -2 - int(1 / scale)) for _ in range(2))
        np.testing.assert_allclose(found[inner], wanted[inner], atol=1e-5)


class TestVolumes:
    def test_an_object_keeps_its_number_from_slice_to_slice(self):
        planes = np.zeros((4, 32, 32), np.uint8)
        shown = []
        for depth in range(4):  # one moves to the right, the other ends after two slices and a third begins
            boxes = [(2 + depth, 4, 12 + depth, 14)]
            boxes += [(20, 20, 30, 30)] if depth < 2 else [(2, 20, 10, 30)]
            for x1, y1, x2, y2 in boxes:
                planes[depth, y1:y2, x1:x2] = 1
            shown.append([blob(1, box, confidence=0.9 - 0.1 * depth) for box in boxes])
        numbered, found = number_objects(planes, shown)
        assert len(found) == 3
        moving = numbered[0, 5, 6]
        assert [numbered[depth, 5, 6 + depth] for depth in range(4)] == [moving] * 4
        assert [one.pixels for one in found] == [400, 200, 160]
        assert found[moving - 1].score / 400 == pytest.approx(0.75)

    def test_touching_objects_stay_two_through_the_volume(self):
        planes = np.zeros((3, 32, 32), np.uint8)
        planes[:, 4:20, 2:30] = 1
        boxes = [(2, 4, 16, 20), (16, 4, 30, 20)]
        shown = [[blob(1, box) for box in boxes[:: 1 if depth % 2 else -1]] for depth in range(3)]  # in any order
        numbered, found = number_objects(planes, shown)
        assert [one.pixels for one in found] == [3 * 16 * 14] * 2
        assert (numbered == numbered[:1]).all()

    def test_classes_are_never_one_object(self):
        planes = np.zeros((2, 32, 32), np.uint8)
        planes[0, 4:20, 4:20], planes[1, 4:20, 4:20] = 1, 2
        assert [one.index for one in number_objects(planes, [[], []])[1]] == [1, 2]

    def test_parts_are_joined_in_three_dimensions(self):
        planes = np.zeros((2, 8, 8), np.uint8)
        planes[0, 1:3, 1:3], planes[1, 3:5, 3:5], planes[1, 6:, 6:] = 1, 1, 1  # corner to corner, and apart
        numbered, found = number_parts(planes, np.full(planes.shape, 204, np.uint8))
        assert [one.pixels for one in found] == [8, 4]
        assert [one.score / one.pixels for one in found] == pytest.approx([0.8, 0.8])
        assert numbered[0, 1, 1] == numbered[1, 4, 4] != numbered[1, 7, 7]

    def test_more_objects_than_16_bits_count_are_refused(self, monkeypatch):
        monkeypatch.setattr(instances, "MOST", 2)
        planes = np.zeros((1, 9, 9), np.uint8)
        planes[0, ::4, 0] = 1
        with pytest.raises(ValueError, match="an image must have at most 2 objects, which 16 bits count, got 3"):
            number_parts(planes)


class TestFiles:
    @pytest.fixture
    def result(self, tmp_path):
        picture = np.zeros((20, 30), np.uint8)
        picture[2:6, 3:10], picture[12:15, 20:22] = 255, 255
        Image.fromarray(picture).save(tmp_path / "cells.png")
        return Segmenter(Toy(), LABELS, intensity={"mode": "bit_depth"})(tmp_path / "cells.png", instances=True)

    def test_a_system_without_boxes_has_connected_parts(self, result):
        found = {(row.index, row.start, row.stop): row.voxels for row in result.instances.rows}
        assert found[1, (2, 3), (6, 10)] == 28
        assert found[1, (12, 20), (15, 22)] == 6
        assert {row.index for row in result.instances.rows} == {1, 2, 3}
        assert np.array_equal(result.instances.map > 0, result.label > 0)
        sure = torch.tensor([0.5, 4.0, 0.0, 0.0]).softmax(0).max().item()
        assert 0.5 < result.instances.rows[0].score <= round(sure, 2) + 0.01

    def test_a_table_and_a_map_of_16_bits(self, result, tmp_path):
        result.save_instances(tmp_path / "map.png")
        with Image.open(tmp_path / "map.png") as picture:
            assert picture.mode.startswith("I")
            assert np.array_equal(np.asarray(picture), result.instances.map)
        write_table(result, tmp_path / "map.csv")
        with (tmp_path / "map.csv").open(encoding="utf-8", newline="") as file:
            header, first, *_ = csv.reader(file)
        assert header == ["id", "class", "pixels", "mm2", "x", "y", "width", "height", "score", "quality"]
        assert first[:8] == ["1", "bright", "28", "", "3", "2", "7", "4"]
        rows = read_table(tmp_path / "map.csv")
        assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
        assert (rows[0]["class"], rows[0]["pixels"], rows[0]["quality"]) == ("bright", 28, None)

    def test_coco_holds_the_same_objects(self, result, tmp_path):
        mask = pytest.importorskip("pycocotools.mask")
        result.save_instances(tmp_path / "a.png")
        write_table(result, tmp_path / "a.csv")
        places = [(tmp_path / "cells.png", tmp_path / "a.png", tmp_path / "a.csv")]
        write_coco(places, result.labels, tmp_path / "coco.json")
        content = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))
        assert content["images"] == [{"id": 1, "file_name": "cells.png", "height": 20, "width": 30}]
        assert [one["name"] for one in content["categories"]] == list(LABELS.values())
        for one, row in zip(content["annotations"], result.instances.rows, strict=True):
            assert np.array_equal(mask.decode(one["segmentation"]), result.instances.map == row.id)
            assert mask.toBbox(one["segmentation"]).tolist() == one["bbox"]
            assert (one["category_id"], one["area"]) == (row.index, row.voxels)

    def test_of_a_volume_the_box_is_that_of_voxels(self, tmp_path):
        import nibabel as nib

        voxels = np.zeros((12, 10, 6), np.uint8)
        voxels[2:5, 3:8, 1:4], voxels[8:10, 3:5, 1:4] = 255, 255
        nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "v.nii.gz")
        result = Segmenter(Toy(), LABELS, intensity={"mode": "bit_depth"})(tmp_path / "v.nii.gz", instances=True)
        bright = [row for row in result.instances.rows if row.index == 1]
        assert {(row.start, row.stop, row.voxels) for row in bright} == {
            ((2, 3, 1), (5, 8, 4), 45),
            ((8, 3, 1), (10, 5, 4), 12),
        }
        write_table(result, tmp_path / "v.csv")
        rows = [row for row in read_table(tmp_path / "v.csv") if row["class"] == "bright"]
        assert {(row["i"], row["size_k"], row["voxels"], row["ml"]) for row in rows} == {
            (2, 3, 45, 0.135),
            (8, 3, 12, 0.036),
        }
        result.save_instances(tmp_path / "v_instances.nii.gz")
        assert read_image(tmp_path / "v_instances.nii.gz").array.max() == len(result.instances.rows)

    def test_another_table_is_refused(self, tmp_path):
        (tmp_path / "t.csv").write_text("case,label\na,b\n", encoding="utf-8")
        with pytest.raises(ValueError, match="must be a table of objects with id, class and score"):
            read_table(tmp_path / "t.csv")

    def test_objects_that_were_not_asked_for_cannot_be_saved(self, result, tmp_path):
        result.instances = None
        with pytest.raises(ValueError, match="call the segmenter with instances=True"):
            result.save_instances(tmp_path / "map.png")
        with pytest.raises(ValueError, match="call the segmenter with instances=True"):
            write_table(result, tmp_path / "map.csv")
