"""What every system must do, whatever its prompter. Test files of systems subclass `SystemContract`."""

import pytest
import torch

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.systems.system import System


class SystemContract:
    """Subclasses build the system at 64 px with a nano SAM."""

    classes = 1

    def build(self, num_classes: int) -> System:
        raise NotImplementedError

    @pytest.fixture
    def net(self) -> System:
        torch.manual_seed(0)
        net = self.build(self.classes)
        for parameter in net.parameters():  # make what starts at zero count
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.02)
        return net.eval()

    @torch.no_grad()
    def test_one_tensor_in_one_tensor_out_at_any_size(self, net):
        for size in [(64, 64), (40, 90), (130, 70)]:
            logits = net(torch.rand(2, 3, *size))
            assert logits.shape == (2, self.classes + 1, *size)
            assert logits.dtype == torch.float32

    @torch.no_grad()
    def test_low_res_cuts_the_padding_off(self, net):
        logits = net(torch.rand(1, 3, 32, 64), low_res=True)
        assert logits.shape[2] * 2 == logits.shape[3]

    @torch.no_grad()
    def test_a_given_embedding_gives_the_same_logits(self, net):
        image = torch.rand(2, 3, 48, 64)
        torch.testing.assert_close(net(image, embedding=net.encode(image)), net(image), atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_an_image_does_not_depend_on_its_batch_mates(self, net):
        images = torch.rand(4, 3, 64, 64)
        together = net(images)
        alone = torch.cat([net(image[None]) for image in images])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_inference_is_deterministic(self, net):
        image = torch.rand(1, 3, 64, 64)
        assert torch.equal(net(image), net(image))

    @torch.no_grad()
    def test_prompt_sets_of_different_length_do_not_touch_each_other(self, net):
        images = torch.rand(2, 3, 64, 64)
        points = torch.full((2, self.classes, 3, 2), torch.nan)
        points[0, 0] = torch.tensor([[10.0, 12.0], [40.0, 30.0], [0.0, 0.0]])
        points[1, 0, 0] = torch.tensor([20.0, 50.0])
        labels = torch.tensor([1, 0, 1]).expand(2, self.classes, 3)
        boxes = torch.full((2, self.classes, 4), torch.nan)
        boxes[1, 0] = torch.tensor([5.0, 6.0, 50.0, 60.0])
        together = net(images, prompts=Prompts(points, labels, boxes))
        for i in range(2):
            one = Prompts(points[i : i + 1], labels[i : i + 1], boxes[i : i + 1])
            torch.testing.assert_close(net(images[i : i + 1], prompts=one)[0], together[i], atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_all_at_once_behind_a_mask_is_as_good_as_group_by_group(self, net, monkeypatch):
        image = torch.rand(3, 3, 48, 64)
        points = torch.full((3, self.classes, 2, 2), torch.nan)
        points[0, 0] = torch.tensor([[10.0, 12.0], [40.0, 30.0]])
        points[2, -1, 1] = torch.tensor([20.0, 40.0])
        boxes = torch.full((3, self.classes, 4), torch.nan)
        boxes[1:, 0] = torch.tensor([5.0, 6.0, 50.0, 40.0])
        asked = Prompts(points, torch.tensor([1, 0]).expand(3, self.classes, 2), boxes)
        grouped = [net(image), net(image, prompts=asked)]
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # no value may be read back then
        for wanted, prompts in zip(grouped, (None, asked), strict=True):
            torch.testing.assert_close(net(image, prompts=prompts), wanted, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_a_click_changes_the_mask_even_at_the_origin(self, net):
        image = torch.rand(1, 3, 64, 64)
        points, labels = torch.full((1, self.classes, 1, 2), torch.nan), torch.ones(1, self.classes, 1)
        before = net(image, prompts=Prompts(points, labels))
        torch.testing.assert_close(before, net(image), atol=1e-5, rtol=1e-5)  # absent points are no points
        points[0, 0, 0] = 0.0
        assert not torch.allclose(
            net(image, prompts=Prompts(points, torch.ones(1, self.classes, 1))), before, atol=1e-4
        )

    def test_segment_gives_back_the_prompts_in_pixels_of_the_image(self, net):
        image = torch.rand(1, 3, 50, 100)
        points = torch.tensor([90.0, 45.0]).expand(1, self.classes, 1, 2)
        box = torch.tensor([10.0, 5.0, 80.0, 40.0]).expand(1, self.classes, 4)
        answer = net.segment(image, Prompts(points, torch.ones(1, self.classes, 1), box))
        torch.testing.assert_close(answer.prompts.box_xyxy, box, atol=1e-3, rtol=1e-3)
        distances = (answer.prompts.points_xy - points).norm(dim=-1)  # the user's point is among them
        assert distances.nan_to_num(99).amin() < 1e-3
        for part in (answer.presence, answer.quality):
            assert part is None or (part.shape == (1, self.classes) and part.min() >= 0 and part.max() <= 1)

    def test_the_adapter_round_trips_and_holds_nothing_frozen(self, net):
        state = {name: value.clone() for name, value in net.adapter_state_dict().items()}
        trained = {name for name, p in net.named_parameters() if p.requires_grad}
        assert trained <= set(state) <= set(net.state_dict())
        frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
        assert not frozen & set(state)
        image = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            wanted = net(image)
            for p in net.parameters():
                if p.requires_grad:
                    p.add_(0.1)
            net.load_adapter_state_dict(state)
            torch.testing.assert_close(net(image), wanted)

    def test_an_adapter_of_another_network_is_refused(self, net):
        state = dict(net.adapter_state_dict())
        name = next(iter(state))
        state["other"] = state.pop(name)
        with pytest.raises(ValueError, match=rf"missing {name}.*unknown other"):
            net.load_adapter_state_dict(state)

    def test_gradients_reach_what_trains_and_only_that(self, net):
        net.train()
        net(torch.rand(2, 3, 64, 64), low_res=True).square().mean().backward()
        for name, parameter in net.named_parameters():
            assert parameter.requires_grad or parameter.grad is None, name

    @pytest.mark.parametrize(
        ("image", "error", "message"),
        [
            (torch.rand(3, 64, 64), ValueError, r"image must have shape \(B, 3, H, W\), got \(3, 64, 64\)"),
            (torch.rand(1, 1, 64, 64), ValueError, r"image must have shape \(B, 3, H, W\), got \(1, 1, 64, 64\)"),
            (torch.rand(1, 3, 64, 64) * 255, ValueError, r"image must lie in \[0, 1\], got values from"),
            (torch.full((1, 3, 64, 64), torch.nan), ValueError, r"image must lie in \[0, 1\], got values from nan"),
            (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, "image must be a floating-point tensor"),
        ],
    )
    def test_images_outside_the_contract_are_refused_at_the_door(self, net, image, error, message):
        with pytest.raises(error, match=message):
            net.segment(image)

    def test_a_channel_too_many_is_refused_in_forward(self, net):
        with pytest.raises(ValueError, match=r"image must have shape \(B, 3, H, W\), got \(1, 4, 64, 64\)"):
            net(torch.rand(1, 4, 64, 64))

    @pytest.mark.parametrize("box", [[10, 12, 50, 40], [50.0, 40.0, 10.0, 12.0], [50, 12, 10, 40]])
    def test_whole_numbers_and_corners_in_any_order_are_the_same_box(self, net, box):
        image = torch.rand(1, 3, 64, 64)
        wanted = torch.tensor([10.0, 12.0, 50.0, 40.0]).expand(1, self.classes, 4)
        first = net.segment(image, Prompts(box_xyxy=wanted))
        again = net.segment(image, Prompts(box_xyxy=torch.tensor(box).expand(1, self.classes, 4)))
        torch.testing.assert_close(again.logits, first.logits)

    def test_whole_numbers_are_the_same_points(self, net):
        image = torch.rand(1, 3, 64, 64)
        points, labels = torch.tensor([[20, 30], [40, 12]]).expand(1, self.classes, 2, 2), torch.tensor([1, 0])
        given = Prompts(points, labels.expand(1, self.classes, 2))
        floats = Prompts(points.float(), labels.float().expand(1, self.classes, 2))
        torch.testing.assert_close(net.segment(image, given).logits, net.segment(image, floats).logits)

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            ({"points_xy": [90.0, 10.0]}, "points_xy must lie in the image of 64 x 48 pixels"),
            ({"points_xy": [10.0, -30.0]}, "points_xy must lie in the image"),
            ({"points_xy": [torch.inf, 10.0]}, "points_xy must be finite"),
            ({"box_xyxy": [70.0, 10.0, 90.0, 20.0]}, "box_xyxy must cover some of the image of 64 x 48 pixels"),
            ({"box_xyxy": [-torch.inf, 10.0, 30.0, 20.0]}, "box_xyxy must be finite"),
        ],
    )
    def test_prompts_outside_or_infinite_are_refused_at_the_door(self, net, place, message):
        parts = {}
        for name, values in place.items():
            shape = (1, self.classes, 1, 2) if name == "points_xy" else (1, self.classes, 4)
            parts[name] = torch.tensor(values).expand(shape)
        if "points_xy" in parts:
            parts["point_labels"] = torch.ones(1, self.classes, 1)
        with pytest.raises(ValueError, match=message):
            net.segment(torch.rand(1, 3, 48, 64), Prompts(**parts))

    def test_prompts_of_another_batch_are_refused(self, net):
        with pytest.raises(ValueError, match=r"box_xyxy must have shape .* with B = 1 and K = \d, got \(2, \d, 4\)"):
            net.segment(torch.rand(1, 3, 64, 64), Prompts(box_xyxy=torch.zeros(2, self.classes, 4)))
