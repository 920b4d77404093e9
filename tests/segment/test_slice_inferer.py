import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from amsam_monai.networks.prompts import Prompts
from amsam_monai.segment.components import keep_largest_components
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.segment.slice_inferer import SliceInferer
from tests.segment.toy import LABELS, Toy


class Middle(nn.Module):
    """Logits [0, 10 (c - 1/2)] with c one channel of the image."""

    def __init__(self, channel=1):
        super().__init__()
        self.channel = channel

    def forward(self, image, **kwargs):
        z = 10 * (image[:, self.channel] - 0.5)
        return torch.stack([torch.zeros_like(z), z], dim=1)


def test_images_go_through_as_they_are():
    image = torch.rand(2, 3, 5, 6)
    torch.testing.assert_close(SliceInferer()(image, Middle()), Middle()(image))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_slices_are_batched_and_come_back_in_place(batch_size):
    volume = torch.rand(2, 1, 4, 5, 6)
    toy = Toy()
    logits = SliceInferer(axis=2, batch_size=batch_size)(volume, toy)
    assert logits.shape == (2, 4, 4, 5, 6)
    torch.testing.assert_close(logits[1, ..., 3], Toy()(volume[1:, ..., 3].expand(-1, 3, -1, -1))[0])
    assert max(call[0] for call in toy.calls) == min(batch_size, 6)


def test_a_single_slice_is_a_volume():
    assert SliceInferer(output="labels")(torch.rand(1, 1, 4, 5, 1), Toy()).shape == (1, 1, 4, 5, 1)


def test_a_meta_tensor_brings_its_own_affine_and_keeps_its_meta_data():
    affine = torch.diag(torch.tensor([1.0, 4.0, 1.0, 1.0], dtype=torch.float64))
    volume = MetaTensor(torch.rand(1, 4, 5, 6), affine=affine, meta={"filename_or_obj": "a.nii"})
    toy = Toy()
    output = SliceInferer(batch_size=9)(volume[None], toy)
    assert toy.calls == [(5, 3, 6, 4)]  # coronal: rows feet to head, columns right to left
    assert isinstance(output, MetaTensor)
    plain = SliceInferer(batch_size=9)(volume.as_tensor()[None], Toy(), affine=affine.numpy())
    torch.testing.assert_close(output.as_tensor(), plain)


def test_labels_are_the_argmax_and_probabilities_the_softmax_of_the_logits():
    volume = torch.rand(1, 1, 4, 5, 6)
    logits = SliceInferer()(volume, Toy())
    labels = SliceInferer(output="labels")(volume, Toy())
    assert labels.dtype == torch.uint8
    torch.testing.assert_close(labels, logits.argmax(1, keepdim=True).to(torch.uint8))
    torch.testing.assert_close(SliceInferer(output="probabilities")(volume, Toy()), logits.softmax(1))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_neighbouring_slices_are_channels_and_repeat_at_the_ends(batch_size):
    volume = torch.arange(5.0).expand(1, 1, 2, 2, 5) / 10
    seen = []
    network = Middle()
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, :, 0, 0]))
    SliceInferer(axis=2, neighbours=1, batch_size=batch_size)(volume, network)
    expected = torch.tensor([[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]]) / 10
    torch.testing.assert_close(torch.cat(seen), expected)


class Everywhere(nn.Module):
    """Class 1, whatever it sees."""

    def forward(self, image):
        return torch.stack([torch.zeros_like(image[:, 0]), torch.ones_like(image[:, 0])], dim=1)


@pytest.mark.parametrize("output", ["logits", "probabilities", "labels"])
@pytest.mark.parametrize("neighbours", [0, 1])
@pytest.mark.parametrize("flips", [(), ("horizontal", "vertical")])
def test_a_blank_slice_is_background(output, neighbours, flips):
    volume = torch.rand(1, 1, 4, 5, 6)
    volume[..., 0], volume[..., 4] = 0.0, 0.7
    found = SliceInferer(axis=2, output=output, neighbours=neighbours, flips=flips)(volume, Everywhere())[0]
    label = found[0] if output == "labels" else found.argmax(0)
    assert label.flatten(0, 1).tolist() == [[0, 1, 1, 1, 0, 1]] * 20
    if output == "probabilities":
        assert float(found[1, ..., 0].max()) < 1e-12


def test_a_picture_of_one_colour_is_background():
    pictures = torch.rand(2, 4, 5, 6)
    pictures[0, :3] = torch.tensor([0.9, 0.1, 0.4])[:, None, None]  # its transparency varies
    labels = SliceInferer(output="labels", neighbours=1)(pictures, Everywhere())
    assert labels.flatten(1).float().mean(1).tolist() == [0, 1]


def test_what_the_intensity_makes_blank_is_blank():
    volume = torch.rand(1, 1, 4, 5, 2)
    volume[..., 0] -= 1000  # air, noisy
    labels = SliceInferer(axis=2, output="labels")(volume, Everywhere(), prepare=lambda values: values.clamp(0, 1))
    assert labels[0, 0].flatten(0, 1).float().mean(0).tolist() == [0, 1]


def test_flips_average_probabilities():
    image = torch.rand(1, 3, 4, 5)
    network = Toy()
    averaged = SliceInferer(flips=("horizontal", "vertical"), output="probabilities")(image, network)
    assert len(network.calls) == 4
    expected = sum(
        Toy()(image.flip(dims)).softmax(1).flip(dims) for dims in ([], [-1], [-2], [-1, -2])
    ) / 4  # fmt: skip
    torch.testing.assert_close(averaged, expected)


def test_flips_turn_prompts_along_and_leave_an_embedding_to_the_image_as_it_is():
    calls = []

    def network(image, *, prompts, embedding=None):
        calls.append((prompts.box_xyxy.flatten().tolist(), embedding))
        return image[:, :2]

    prompts = Prompts(box_xyxy=torch.tensor([[[0.0, 0.0, 2.0, 3.0]]]))
    inferer = SliceInferer(flips=("horizontal", "vertical"))
    inferer(torch.rand(1, 3, 4, 5), network, prompts=prompts, embedding="kept")
    boxes = [[0, 0, 2, 3], [3, 0, 5, 3], [0, 1, 2, 4], [3, 1, 5, 4]]  # as it is, mirrored, upside down, both
    assert calls == [(box, "kept" if n == 0 else None) for n, box in enumerate(boxes)]


def test_scaling_and_prompts_come_batch_by_batch():
    volume = torch.arange(6, dtype=torch.int16).expand(1, 1, 2, 2, 6)
    numbers = []

    class Prompted(Middle):
        def forward(self, image, *, prompts):
            assert prompts == [round(float(one[0, 0, 0]) * 10) for one in image]
            return super().forward(image)

    def per_slice(batch):
        numbers.extend(batch)
        return {"prompts": list(batch)}

    inferer = SliceInferer(axis=2, batch_size=4)
    inferer(volume, Prompted(), prepare=lambda slices: slices / 10, per_slice=per_slice)
    assert numbers == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="one volume"):
        inferer(volume.repeat(2, 1, 1, 1, 1), Prompted(), per_slice=per_slice)


def test_progress_counts_slices():
    done = []
    SliceInferer(batch_size=4, progress=done.append)(torch.rand(1, 1, 3, 3, 6), Toy())
    assert done == [4, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "mask"}, "output must be one of"),
        ({"flips": ("diagonal",)}, "flips must be among"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"neighbours": -1}, "neighbours >= 0"),
        ({"axis": 5}, "axis must be"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        SliceInferer(**options)


def test_a_tensor_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"\(B, C, H, W\) or \(B, C, I, J, K\)"):
        SliceInferer()(torch.rand(3, 4, 5), Toy())


def test_only_the_largest_component_of_each_class_stays():
    label = np.array([[1, 1, 0, 1], [0, 0, 0, 2], [2, 0, 2, 2]], np.uint8)
    keep_largest_components(label, [1, 2, 3])
    assert label.tolist() == [[1, 1, 0, 0], [0, 0, 0, 2], [0, 0, 2, 2]]


def test_a_segmenter_filters_the_classes_it_was_told(tmp_path):
    from PIL import Image

    pixels = np.zeros((6, 9), np.uint8)
    pixels[1, 1], pixels[4, 4:7] = 255, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    result = Segmenter(Toy(), LABELS, intensity={"mode": "bit_depth"}, largest_component=["bright"])(tmp_path / "a.png")
    assert result.label[1, 1] == 0
    assert result.label[1, 2] == 2
    assert (result.label == 1).sum() == 3
    assert result.volumes()["bright"] == {"pixels": 3}
    result.source.spacing_mm = (0.5, 0.5)
    assert result.volumes()["bright"] == {"pixels": 3, "mm2": 0.75}
    with pytest.raises(ValueError, match="must name classes among"):
        Segmenter(Toy(), LABELS, largest_component=["dark"])
    with pytest.raises(ValueError, match="at least one class"):
        Segmenter(Toy(), {0: "background"})


def test_probabilities_do_not_change_the_label_map(tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 8), np.uint8)).save(tmp_path / "a.png")
    segmenter = Segmenter(Toy(), LABELS, intensity={"mode": "bit_depth"})
    plain, both = segmenter(tmp_path / "a.png"), segmenter(tmp_path / "a.png", probabilities=True)
    np.testing.assert_array_equal(plain.label, both.label)
    np.testing.assert_array_equal(both.probabilities.argmax(0), both.label)
    with pytest.raises(ValueError, match="probabilities=True"):
        plain.save_probabilities(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"a\.png: 'none' expects an image in \[0, 1\]"):
        Segmenter(Toy(), LABELS, intensity={"mode": "none"})(tmp_path / "a.png")
