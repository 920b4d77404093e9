"""The mean of several systems: each answers for itself, and their class probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.sam import EMBED_DIM, SAM
from amsam_monai.networks.systems.system import Prediction, System

Answer = tuple[SquareFrame, Prediction]


class Mean(System):
    """Systems with the same classes as one, whose logits are logarithms of the mean of their probabilities.

    Each member sees the image in a square of its own; the mean is taken at the image's size. Without prompts, all
    members answer. A class that a person prompts is answered by the members that heed prompts, the network's own
    prompts beside it; what that leaves is shared among the other classes as it is without prompts. The prompts that
    come back are the person's alone, since those of the members differ.

    Args:
        members: two systems or more; the first one's SAM stands for all where a system is asked for its own.

    Raises:
        ValueError: fewer than two members, or members that differ in classes or framing.
    """

    def __init__(self, members: Sequence[System]) -> None:
        nn.Module.__init__(self)
        if len(members) < 2:
            raise ValueError(f"members must be two systems at least, got {len(members)}.")
        self.num_classes, self.resize = members[0].num_classes, members[0].resize
        for member in members:
            if (member.num_classes, member.resize) != (self.num_classes, self.resize):
                raise ValueError(
                    f"members must have the same classes and framing, {self.num_classes} and {self.resize!r}, got "
                    f"{member.num_classes} and {member.resize!r}."
                )
        self.members = nn.ModuleList(members)

    @property
    def systems(self) -> list[System]:
        """The members."""
        return [cast(System, member) for member in self.members]

    @property
    def sam(self) -> SAM:  # type: ignore[override]
        """The first member's."""
        return self.systems[0].sam

    @property
    def sams(self) -> list[SAM]:
        """See `System.sams`."""
        return [sam for member in self.systems for sam in member.sams]

    @property
    def detector(self) -> nn.Module | None:
        """That of the first member which has one."""
        found = (getattr(member, "detector", None) for member in self.systems)
        return next((one for one in found if one is not None), None)

    @property
    def heeds_prompts(self) -> bool:
        """See `System.heeds_prompts`."""
        return any(member.heeds_prompts for member in self.systems)

    def frame(self, image: Tensor) -> SquareFrame:
        """The image as it is, with padding where it is not square."""
        rows, columns = image.shape[-2:]
        return SquareFrame(rows, columns, max(rows, columns))

    def encode(self, image: Tensor) -> Tensor:
        """The members' embeddings, cell after cell. Shape (B, 3, H, W) -> (B, 256, cells)."""
        return torch.cat([member.encode(image).flatten(2) for member in self.systems], dim=2)

    def mask_prompt(self, masks: Tensor) -> Tensor:
        """See `System.mask_prompt`; in the first member's square."""
        return self.systems[0].mask_prompt(masks)

    def _parts(self, embedding: Tensor) -> list[Tensor]:
        """The embedding of each member from what `encode` gave."""
        parts = embedding.split([member.sam.grid**2 for member in self.systems], dim=2)
        return [
            part.reshape(len(part), EMBED_DIM, member.sam.grid, member.sam.grid)
            for part, member in zip(parts, self.systems, strict=True)
        ]

    def encode_framed(self, pixels: Tensor, frame: SquareFrame) -> Tensor:
        """See `System.encode_framed`; each member encodes for itself."""
        return self.encode(pixels[..., : frame.height, : frame.width])

    def predict(
        self,
        pixels: Tensor,
        embedding: Tensor,
        prompts: Prompts,
        frame: SquareFrame,
        classes: Sequence[int] | None = None,
    ) -> Prediction:
        """See `System.predict`; the square is the image itself, and all classes are decoded."""
        image = pixels[..., : frame.height, : frame.width]
        prompted = prompts.classes()
        parts = self._parts(embedding)
        answers = [
            member.predict_image(image, embedding=part) for member, part in zip(self.systems, parts, strict=True)
        ]
        whole = _mean(answers)
        if prompted is not None:
            heeding = [at for at, member in enumerate(self.systems) if member.heeds_prompts or not self.heeds_prompts]
            asked = [
                self.systems[at].predict_image(
                    image, embedding=parts[at], prompts=_beside_own(prompts, prompted, answers[at], self.systems[at])
                )
                for at in heeding
            ]
            whole = _with_prompted(whole, _mean(asked), prompted)
        rows, columns = image.shape[-2:]
        padded = F.pad(whole.logits, (0, frame.size - columns, 0, frame.size - rows))
        return replace(whole, logits=padded, prompts=prompts)

    def adapter_keys(self) -> list[str]:
        """Those of the members, by their place."""
        keys = [member.adapter_keys() for member in self.systems]
        return [f"members.{at}.{name}" for at, names in enumerate(keys) for name in names]


def _mean(answers: Sequence[Answer]) -> Prediction:
    """The mean of answers for one image, at its size: logarithms of mean probabilities, mean presence and quality."""
    shares = torch.stack([frame.restore(answer.logits).log_softmax(1) for frame, answer in answers])
    presence, quality = (
        torch.stack(told).mean(0) if (told := [one for one in parts if one is not None]) else None
        for parts in (
            [answer.presence for _, answer in answers],
            [answer.quality for _, answer in answers],
        )
    )
    return Prediction(shares.logsumexp(0) - math.log(len(answers)), Prompts(), presence, quality)


def _with_prompted(whole: Prediction, asked: Prediction, prompted: Tensor) -> Prediction:
    """An answer with the classes that are prompted, (B, K), taken from another; the others share what that leaves."""
    fixed = F.pad(prompted, (1, 0))[..., None, None]  # background never is
    left = asked.logits.masked_fill(fixed, -torch.inf).logsumexp(1, keepdim=True)
    others = whole.logits.masked_fill(fixed, -torch.inf)
    others = others - others.logsumexp(1, keepdim=True) + left
    presence, quality = (
        own if own is None or new is None else torch.where(prompted, new, own)
        for own, new in ((whole.presence, asked.presence), (whole.quality, asked.quality))
    )
    return Prediction(torch.where(fixed, asked.logits, others), Prompts(), presence, quality)


def _beside_own(prompts: Prompts, prompted: Tensor, answer: Answer, member: System) -> Prompts:
    """A person's prompts for a member, with its own boxes for the classes that nobody prompted, (B, K)."""
    frame, prediction = answer
    own = prediction.prompts.box_xyxy
    if prompts.box_xyxy is not None and own is not None:
        boxes = torch.where(prompted[..., None], prompts.box_xyxy, frame.boxes_back(own))
        prompts = replace(prompts, box_xyxy=boxes)
    if prompts.mask is not None:  # lies in the member's square
        prompts = replace(prompts, mask=F.interpolate(prompts.mask, (4 * member.sam.grid,) * 2, mode="bilinear"))
    return prompts
