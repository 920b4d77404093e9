"""What propagation would give, shown before it is kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsam_monai.annotate.drawing import draw
from amsam_monai.annotate.pen import Pen
from amsam_monai.data.slices import SliceView
from amsam_monai.session.propagation import Proposal
from amsam_monai.session.session import InteractiveSession

SHOWN, SMALL = 8, 112  # small pictures, and pixels of their sides


class Previews(Pen):
    """Views with a proposal of masks for the slices around, until it is kept or dropped.

    Args:
        session: see `Pen`.
        side: see `Pen`.
    """

    def __init__(self, session: InteractiveSession, *, side: int = 640) -> None:
        super().__init__(session, side=side)
        self.proposal: Proposal | None = None

    @property
    def proposed(self) -> Proposal | None:
        """The proposal, as long as nothing else was edited."""
        return self.proposal if self.proposal is not None and self.session.fits(self.proposal) else None

    def propose(self) -> str:
        """Find what carrying the class's mask to the slices around would give; says how far it would go."""
        session, name = self.session, self.session.labels[self.label]
        self.proposal = None
        if not (session.image.plane(session.label, self.slice) == self.label).any():
            return f"There is no {name} in this slice to carry on."
        proposal = session.propose(self.slice, labels=[self.label])
        self.update()
        count = len(proposal.masks)
        if not count:
            return "The neighbouring slices did not follow."
        self.proposal = proposal
        return f"{name} would go on to {count} slice{'s' * (count != 1)}: Enter keeps this, Esc drops it."

    def keep(self) -> str:
        """Take what is proposed."""
        if self.proposed is None:
            return self._nothing()
        count = len(self.session.take(self.proposed))
        self.proposal = None
        self.update()
        return f"Carried to {count} slice{'s' * (count != 1)}."

    def drop(self) -> str:
        """Leave everything as it is."""
        if self.proposed is None:
            return self._nothing()
        self.proposal = None
        return "Dropped; nothing has changed."

    def _nothing(self) -> str:
        changed, self.proposal = self.proposal is not None, None
        return "The image was edited since; propagate again." if changed else "There is nothing to keep or drop."

    def shown_mask(self, view: SliceView, place: int) -> np.ndarray:
        """See `PlaneViews.shown_mask`; what is proposed, where it is."""
        own = self.session.image.view
        if self.proposed is not None and own is not None and own.axes[0] == view.axes[0]:
            mask = self.proposed.masks.get(view.renumbered(place))
            if mask is not None:
                return _turned(mask, own, view)
        return super().shown_mask(view, place)

    def previews(self) -> list[dict[str, Any]]:
        """Small pictures of what is proposed, spread over its slices: place, steps from here, and picture."""
        if self.proposed is None:
            return []
        plane = self._own_plane()
        view, canvas = self.view(plane), self.canvas(plane, SMALL)
        places = sorted(view.renumbered(number) for number in self.proposed.masks)
        chosen = np.unique(np.linspace(0, len(places) - 1, min(SHOWN, len(places))).round().astype(int))
        here, rows = view.renumbered(self.slice), []
        for place in (places[at] for at in chosen):
            picture = draw(self.grey(view, place), self.shown_mask(view, place), canvas, opacity=self.opacity)
            rows.append({"place": place, "step": place - here, "picture": picture})
        return rows


def _turned(mask: np.ndarray, own: SliceView, view: SliceView) -> np.ndarray:
    """A slice of one view as another sees it, of the same stored axis."""
    backwards = dict(zip(own.axes, own.reverse, strict=True))
    mask = mask if own.axes == view.axes else mask.T
    down, across = (backwards[axis] != back for axis, back in zip(view.axes[1:], view.reverse[1:], strict=True))
    return mask[:: -1 if down else 1, :: -1 if across else 1]
