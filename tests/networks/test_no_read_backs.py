"""Automatic inference and training losses on a GPU that is only pretended: its tensors have shapes, types and a device.

PyTorch's fake tensors hold no values: whatever reads one back to the host raises, and so does an operation on tensors
of two devices. On a real GPU the first would make the host wait at every call, and neither a compiler nor CUDA graphs
could hold it. Gradients cannot be pretended: backward passes ask for the device itself.
"""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from amsam_monai.losses import AISAMLoss, CEDiceLoss, LowResLoss
from amsam_monai.networks.prompts.class_prompts import ClassPrompts, class_presence
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.autosam import build_autosam
from amsam_monai.networks.systems.mean import Mean
from amsam_monai.networks.systems.training_wrappers import WithLossInputs
from amsam_monai.networks.systems.unified import build_unified
from amsam_monai.segment.slice_inferer import SliceInferer

SIZE, CLASSES = 64, 3


class FixedDetector(nn.Module):
    """A box for some classes, computed from the image's device alone."""

    def forward(self, image):
        boxes = image.new_zeros(len(image), CLASSES, 4) + torch.nan
        return boxes, image.new_zeros(len(image), CLASSES)

    def objects(self, image):
        boxes, sure = self(image)
        return boxes[:, :, None].expand(-1, -1, 4, -1), sure[:, :, None].expand(-1, -1, 4)


def sam(backbone="vit_nano"):
    return build_sam(backbone, image_size=SIZE)


def generator():
    return PromptGenerator("efficientnet_lite0", num_classes=CLASSES, grid=SIZE // 16)


SYSTEMS = {
    "AM-SAM": lambda: AMSAM(sam("vit_t"), num_classes=CLASSES),
    "AM-SAM with a detector": lambda: AMSAM(
        sam(), num_classes=CLASSES, detector=FixedDetector(), box_centre_point=True, missing_box="learned"
    ),
    "AM-SAM of all objects": lambda: AMSAM(sam(), num_classes=CLASSES, detector=FixedDetector(), objects="all"),
    "SAMed": lambda: AMSAM(sam(), num_classes=CLASSES, joint=True, encoder_lora_rank=2),
    "AI-SAM": lambda: AISAM(sam(), num_classes=CLASSES, depth=1),
    "AI-SAM with a second look": lambda: AISAM(
        sam(), num_classes=CLASSES, depth=1, encoder="full", second_look=True, num_class_prompts=2
    ),
    "AI-SAM with a detector": lambda: AISAM(
        sam(), num_classes=CLASSES, depth=1, detector=FixedDetector(), box_source="detector", box_tokens=True
    ),
    "AutoSAM": lambda: build_autosam(sam(), backbone="sam", num_classes=CLASSES, lora_rank=2),
    "AutoSAM's light form": lambda: build_autosam(
        sam(), backbone="efficientnet_lite0", num_classes=CLASSES, light=True
    ),
    "all three": lambda: build_unified(
        sam(), num_classes=CLASSES, depth=1, detector=FixedDetector(), generator=generator()
    ),
}
OF_SEVERAL = {  # whose members train by themselves
    "a mean": lambda: Mean(
        [AMSAM(sam(), num_classes=CLASSES), build_autosam(sam(), backbone="sam", num_classes=CLASSES)]
    ),
}
every_system = pytest.mark.parametrize("name", SYSTEMS)


@pytest.fixture
def gpu():
    """All tensors made inside are fake."""
    with FakeTensorMode() as mode:
        yield mode


def moved(net, gpu):
    """The network with parameters and buffers on the pretended GPU; other tensors that it holds stay, and are found."""
    return net._apply(lambda tensor: gpu.from_tensor(tensor).to("cuda"))


@pytest.mark.parametrize("name", SYSTEMS | OF_SEVERAL)
def test_inference_stays_on_the_device(name, request):
    net = moved((SYSTEMS | OF_SEVERAL)[name]().eval(), request.getfixturevalue("gpu"))
    with torch.no_grad():
        logits = net(torch.rand(2, 3, SIZE + 30, SIZE, device="cuda"))
    assert logits.device.type == "cuda"
    assert logits.shape == (2, CLASSES + 1, SIZE + 30, SIZE)


@every_system
def test_what_training_minimises_stays_on_the_device(name, request):
    net = moved(SYSTEMS[name]().train(), request.getfixturevalue("gpu"))
    image = torch.rand(2, 3, SIZE + 30, SIZE, device="cuda")
    label = torch.zeros(2, 1, SIZE + 30, SIZE, device="cuda", dtype=torch.long)
    if isinstance(net, AISAM):
        known = ClassPrompts(present=class_presence(label, CLASSES))
        loss = AISAMLoss(image_size=SIZE)(WithLossInputs(net)(image, prompts=known, low_res=True), label)
    else:
        loss = LowResLoss(CEDiceLoss(), image_size=SIZE)(net(image, low_res=True), label)
    assert loss.device.type == "cuda"
    assert loss.requires_grad


@pytest.mark.parametrize("name", [pytest.param("AI-SAM with a second look", marks=pytest.mark.slow), "AutoSAM"])
@torch.no_grad()
def test_one_exported_graph_holds_the_network(name):
    net, image = SYSTEMS[name]().eval(), torch.rand(2, 3, SIZE, SIZE)
    graph = torch.export.export(net, (image,), strict=False).module()
    other = torch.rand(2, 3, SIZE, SIZE)  # may have other classes than the one it was made with
    torch.testing.assert_close(graph(other), net(other), atol=1e-4, rtol=1e-4)


@pytest.mark.slow  # recording takes a minute
@pytest.mark.parametrize("name", ["AM-SAM of all objects", "AI-SAM with a second look", "AutoSAM"])
@torch.no_grad()
def test_one_compiled_graph_holds_the_network(name):
    net = SYSTEMS[name]().eval()
    graph = torch.compile(net, fullgraph=True, backend="eager")
    for image in torch.rand(2, 2, 3, SIZE, SIZE):  # the second may have other classes than the first
        torch.testing.assert_close(graph(image), net(image), atol=1e-5, rtol=1e-5)


def test_volumes_go_to_the_device_and_come_back(request):
    net, found = moved(SYSTEMS["SAMed"]().eval(), request.getfixturevalue("gpu")), []

    def store(shape):
        found.append(torch.zeros(shape))
        return found[0]

    inferer = SliceInferer(output="labels", batch_size=2, neighbours=1, flips=("horizontal",))
    with torch.no_grad():
        labels = inferer(torch.rand(1, 1, 40, 30, 5), net, prepare=lambda slices: slices / 2, store=store)
    assert (labels.device.type, labels.shape) == ("cpu", (1, 1, 40, 30, 5))
    assert (found[0].device.type, found[0].shape) == ("cpu", (CLASSES + 1, 40, 30, 5))


def test_what_reads_a_value_back_is_found_out(request):
    request.getfixturevalue("gpu")
    with pytest.raises(Exception, match=r"data-dependent|_local_scalar_dense"):
        bool((torch.rand(3, device="cuda") > 0.5).any())
