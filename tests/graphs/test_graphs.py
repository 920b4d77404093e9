"""Graphs say what their system says, whatever the number of images and prompts, and refuse what they cannot hold."""

import pytest
import torch
from torch import nn

from amsam_monai.graphs.examples import compared, recorded
from amsam_monai.graphs.export import largest_difference
from amsam_monai.networks.detector.box_head import BoxHead
from amsam_monai.networks.detector.detector import BoxDetector, pretrained_detector
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.autosam import build_autosam
from amsam_monai.networks.systems.graphs import graphs_of
from amsam_monai.networks.systems.mean import Mean
from amsam_monai.networks.systems.tracing import traced
from tests.networks.yolo_fixtures import write_tiny_yolo

SIZE, CLASSES = 64, 3


def sam():
    return build_sam("vit_nano", image_size=SIZE)


def embedding_detector(**options):
    """A head that is not fitted, whose boxes pass a low floor."""
    names = [f"class {index}" for index in range(CLASSES)]
    return EmbeddingDetector(BoxHead(CLASSES), class_names=names, image_size=SIZE, confidence=0.0, **options)


SYSTEMS = {
    "AM-SAM": lambda: AMSAM(sam(), num_classes=CLASSES),
    "AM-SAM of one class": lambda: AMSAM(sam()),
    "AM-SAM with a detector": lambda: AMSAM(
        sam(), num_classes=CLASSES, detector=embedding_detector(), box_centre_point=True
    ),
    "AM-SAM of all objects": lambda: AMSAM(
        sam(), num_classes=CLASSES, objects=["all", "one", "all"],
        detector=embedding_detector(object_confidence=0.0, most_objects=3),
    ),
    "plain": lambda: AMSAM(sam(), num_classes=CLASSES, joint=True, calibration="none"),
    "AI-SAM": lambda: AISAM(sam(), num_classes=CLASSES, depth=1, num_points=[2, 1, 3, 2], num_class_prompts=2),
    # All classes, told apart by prompts of their own: without, points in the same cells make the same mask of each.
    "AI-SAM that looks twice": lambda: AISAM(
        sam(), num_classes=CLASSES, depth=1, second_look=True, box_tokens=True, gate=False, num_class_prompts=2
    ),
    "AutoSAM": lambda: build_autosam(sam(), backbone="sam", num_classes=CLASSES, lora_rank=2),
    "AutoSAM's light form": lambda: build_autosam(
        sam(), backbone="efficientnet_lite0", num_classes=CLASSES, prompt_size=SIZE, light=True
    ),
}  # fmt: skip


def built(name):
    torch.manual_seed(0)
    net = SYSTEMS[name]()
    for parameter in net.parameters():  # make what starts at zero count
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.02)
    return net.eval()


@pytest.mark.parametrize("name", SYSTEMS)
@torch.no_grad()
def test_graphs_say_what_the_system_says(name):
    """Encoder, detector and automatic in a row are the system; prompts come in SAM's labels."""
    net = built(name)
    graphs, _ = graphs_of(net)
    for _, inputs in compared(graphs):
        pixels = inputs["encoder"][0] if "encoder" in graphs else inputs["automatic"][0]
        given = dict(zip(graphs["automatic"].inputs, inputs["automatic"], strict=True))
        if "detector" in graphs:  # of the whole square
            edges = torch.full((4,), float(SIZE))
            (given["boxes"],) = graphs["detector"](*inputs["detector"][:-1], edges)
        (logits,) = graphs["automatic"](*given.values())
        wanted = net.predict_image(pixels)[1].logits
        torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_box_and_points_in_sams_labels_are_those_prompts():
    net = built("AM-SAM")
    graph = graphs_of(net)[0]["prompted"]
    pixels = torch.rand(1, 3, SIZE, SIZE)
    xy = torch.tensor([[9.0, 9.0], [20.0, 30.0], [5.0, 6.0], [50.0, 60.0]]).expand(1, CLASSES, 4, 2)
    labels = torch.tensor([[1, 0, 2, 3], [1, 0, -1, -1], [-1, -1, -1, -1]]).float()[None]
    points = xy[:, :, :2].clone()
    points[:, 2] = torch.nan
    box = torch.full((1, CLASSES, 4), torch.nan)
    box[:, 0] = torch.tensor([5.0, 6.0, 50.0, 60.0])
    wanted = net(pixels, prompts=Prompts(points, torch.tensor([1, 0]).expand(1, CLASSES, 2), box), low_res=True)
    logits, quality = graph(net.encode(pixels), xy, labels)
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)
    assert quality.shape == (1, CLASSES)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "AM-SAM of one class" else pytest.mark.slow) for n in SYSTEMS]
)
@torch.no_grad()
def test_a_trace_holds_for_other_numbers_of_images_and_prompts(name):
    graphs, _ = graphs_of(built(name))
    examples = recorded(graphs)
    traces = {one: traced(graph, examples[one]) for one, graph in graphs.items()}
    for _, inputs in compared(graphs):
        for one, graph in graphs.items():
            for wanted, found in zip(graph(*inputs[one]), traces[one](*inputs[one]), strict=True):
                assert largest_difference(wanted.numpy(), found.numpy()) < 1e-3, one


@pytest.mark.slow
@pytest.mark.parametrize("objects", ["one", "all"])
@torch.no_grad()
def test_yolo_is_a_graph_of_its_own(objects, tmp_path):
    detector = pretrained_detector(
        write_tiny_yolo(tmp_path), image_size=64, more_sizes=[96], classes=[0, 1, 2], confidence=0.0,
        object_confidence=0.0, most_objects=2,
    )  # fmt: skip
    assert isinstance(detector, BoxDetector)
    net = AMSAM(sam(), num_classes=CLASSES, detector=detector, objects=objects).eval()
    graphs, _ = graphs_of(net)
    assert graphs["detector"].inputs == ("picture_64", "scale_64", "picture_96", "scale_96", "edges")
    traces = {one: traced(graph, recorded(graphs)[one]) for one, graph in graphs.items()}
    _, inputs = list(compared(graphs))[1]  # a picture, with padding
    pixels = inputs["encoder"][0]
    (boxes,) = traces["detector"](*inputs["detector"])
    columns, rows = (int(value) for value in inputs["detector"][-1][:2])
    picture = pixels[..., :rows, :columns]
    wanted = detector.objects(picture)[0] if objects == "all" else detector(picture)[0][:, :, None]
    torch.testing.assert_close(boxes[:, :, : wanted.shape[2]], wanted, atol=1e-2, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: AMSAM(sam(), num_classes=CLASSES, detector=embedding_detector(), dark_object_weight=0.5),
            "dark_object_weight must be 0.*--no-dark-object",
        ),
        (
            lambda: AMSAM(
                sam(), num_classes=CLASSES, detector=embedding_detector(), objects="all", windows=True
            ),
            "windows must be false",
        ),
        (
            lambda: AMSAM(sam(), num_classes=CLASSES, detector=embedding_detector(snap_to_dark_object=True)),
            "snap_to_dark_object must be false",
        ),
        (
            lambda: AISAM(
                sam(), num_classes=CLASSES, encoder="frozen", detector=embedding_detector(), box_source="detector"
            ),
            "box_source must be user or none",
        ),
        (lambda: Mean([AMSAM(sam()), AMSAM(sam())]), "a mean must be exported member by member"),
        (lambda: AMSAM(sam(), num_classes=CLASSES, detector=Finds()), "must be a YOLO or one that reads SAM's.*Finds"),
    ],
)  # fmt: skip
def test_what_no_graph_holds_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        graphs_of(make().eval())


class Finds(nn.Module):
    """A detector of one's own."""

    def forward(self, image):
        return image.new_zeros(len(image), CLASSES, 4), image.new_zeros(len(image), CLASSES)


def test_what_is_left_out_is_told():
    assert graphs_of(built("plain"))[1] == {"prompted": "several classes that are decoded jointly take no prompts"}
    graphs, left_out = graphs_of(built("AutoSAM's light form"))
    assert list(graphs) == ["automatic"]
    assert sorted(left_out) == ["encoder", "prompted"]
