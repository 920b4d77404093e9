"""What propagation would give, looked at before it is taken."""

import numpy as np
import pytest

from amsam_monai.networks.prompts.class_prompts import point_signs
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.session.session import InteractiveSession
from tests.segment.toy_net import BrightRegions
from tests.session.test_session import opened, two_bars


@pytest.fixture
def session():
    session = opened(BrightRegions(automatic=()))
    session.add_point(1, (8, 6, 1))
    session.segment(1)
    return session


def test_a_proposal_changes_nothing_and_shows_what_propagation_gives(session):
    edits, label = dict(session.edits), session.label.copy()
    proposal = session.propose(1)
    assert proposal.reached == {"class 1": [0, 2, 3]}
    assert sorted(proposal.masks) == [0, 2, 3]
    assert session.edits == edits
    np.testing.assert_array_equal(session.label, label)
    assert session.undo() == [1]  # the click: nothing came in between
    assert session.redo() == [1]
    session.propagate(1)
    for number, mask in proposal.masks.items():
        np.testing.assert_array_equal(session.image.plane(session.label, number), mask)


def test_a_proposal_is_taken_as_one_step(session):
    proposal = session.propose(1, max_slices=1)
    before = session.label.copy()
    assert session.take(proposal) == [0, 2]
    assert (session.label.sum((0, 1)) > 0).tolist() == [True, True, True, False, False, False]
    assert session.box(1, 2) is not None
    assert session.undo() == [0, 2]
    np.testing.assert_array_equal(session.label, before)


def test_a_proposal_of_nothing_is_no_step(session):
    session.clear()
    assert session.take(session.propose(1)) == []
    assert session.undo() == [1]  # the clearing


def test_what_could_be_redone_still_can(session):
    session.undo()
    session.propose(1)
    assert session.redo() == [1]


def test_an_edit_makes_a_proposal_void_and_a_look_does_not(session):
    proposal = session.propose(1)
    session.segment([0, 4])
    assert session.fits(proposal)
    session.paint(1, [(0, 0, 4)])
    with pytest.raises(ValueError, match="a proposal must be taken before anything else is edited"):
        session.take(proposal)


def test_background_keeps_its_points_where_classes_prompt_against_each_other(nano_sam, monkeypatch):
    session = InteractiveSession(AISAM(nano_sam, num_classes=2, gate=False), {1: "A", 2: "B"})
    session.open(two_bars())
    session.segment([1, 2])
    own = session.answers.automatic(2)
    background = (point_signs(own.points_xy, own.point_labels)[0, 0] > 0).sum()
    assert background
    session.paint("A", [(3, 3, 1)], size=3)  # so that there is a mask to carry
    asked, segment = [], session.net.segment

    def noted(pixels, prompts, *args, **kwargs):
        asked.append(prompts)
        return segment(pixels, prompts, *args, **kwargs)

    monkeypatch.setattr(session.net, "segment", noted)
    session.propose(1, labels=["A"], min_quality=0.0, min_overlap=0.0, max_slices=1)
    clicked = [prompts for prompts in asked if prompts is not None and prompts.points_xy is not None]
    assert clicked
    for prompts in clicked:
        assert (point_signs(prompts.points_xy, prompts.point_labels)[0, 0] > 0).any()
