import pytest
import torch

from amsam_monai.networks.convert.aisam import aisam_state_dict
from amsam_monai.networks.prompts.presence_classifier import PresenceClassifier
from tests.reference import aisam_golden as golden


@torch.no_grad()
def test_logits_equal_the_published_ones():
    classifier = PresenceClassifier(golden.NUM_CLASSES).double().eval()
    classifier.load_state_dict(aisam_state_dict(golden.filled(golden.published_shapes()))["classifier"])
    logits = classifier(golden.inputs()[0])
    torch.testing.assert_close(logits[0], torch.tensor(golden.PRESENCE_LOGITS).double(), atol=1e-6, rtol=0)


def test_parameters_are_as_many_as_published():
    count = sum(parameter.numel() for parameter in PresenceClassifier(9).parameters())
    assert count == 4_342_400 + 257 + 9 * 256


@torch.no_grad()
@pytest.mark.parametrize("grid", [(1, 1), (4, 4), (7, 3)])
def test_any_grid_gives_one_logit_a_class(grid):
    assert PresenceClassifier(4)(torch.randn(2, 256, *grid)).shape == (2, 4)


@torch.no_grad()
def test_classes_are_independent_given_the_image():
    classifier = PresenceClassifier(3)
    embedding = torch.randn(1, 256, 8, 8)
    before = classifier(embedding)
    classifier.class_queries[1] += 1
    after = classifier(embedding)
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]])
    assert not torch.allclose(after[:, 1], before[:, 1])


def test_every_parameter_gets_a_gradient():
    classifier = PresenceClassifier(2)
    classifier(torch.randn(2, 256, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 1, background counted, got 0"):
        PresenceClassifier(0)
    with pytest.raises(ValueError, match=r"embedding must have shape \(B, 256, h, w\), got \(256, 8, 8\)"):
        PresenceClassifier(1)(torch.rand(256, 8, 8))
