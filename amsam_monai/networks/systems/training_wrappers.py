"""Ways to train a system: with all that its losses read, on windows of its square, or without its encoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.systems.aisam import AISAM, AISAMPrediction
from amsam_monai.networks.systems.system import System


class Transparent(nn.Module):
    """A wrapper whose state has the keys of the module in it: weights go in and out by the names that they have there.

    MONAI FL sends a trainer's weights to an evaluator that has no wrapper; with keys of its own none would arrive.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._register_state_dict_hook(_without_module)
        self._register_load_state_dict_pre_hook(_with_module)


def _without_module(wrapper: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    own = f"{prefix}module."
    entries = [(prefix + key[len(own) :] if key.startswith(own) else key, value) for key, value in state.items()]
    state.clear()
    state.update(entries)


def _with_module(state: dict[str, Any], prefix: str, *_: Any) -> None:
    entries = [(f"{prefix}module.{key[len(prefix) :]}" if key.startswith(prefix) else key, state[key]) for key in state]
    state.clear()
    state.update(entries)


class WithLossInputs(Transparent):
    """Let AI-SAM's losses see points, presence and predicted IoU beside the logits that the network gives.

    A training wrapper, so that the network's own `forward` gives logits like any system's, and DistributedDataParallel,
    which wraps this one, knows of all that has gradients.

    Args:
        module: the system; its name is that of other wrappers, so that adapters are saved and loaded through this one.

    Shape: image (B, 3, H, W) -> logits as `AISAM` gives them; the prompter's weights (B, C, N, g, g), features
        (B, C, N, 256) and points_xy (B, C, N, 2) in SAM's square; presence_logits (B, C); quality (B, C), which is the
        predicted IoU.
    """

    module: AISAM

    def __init__(self, module: AISAM) -> None:
        super().__init__(module)

    def forward(
        self,
        image: Tensor,
        *,
        embedding: Tensor | None = None,
        prompts: Prompts | None = None,
        low_res: bool = False,
    ) -> dict[str, Tensor]:
        """What `AISAMLoss` reads; arguments as `System.forward` takes them."""
        frame, answer = self.module.predict_image(image, embedding=embedding, prompts=prompts)
        prediction = cast(AISAMPrediction, answer)
        return {
            "logits": frame.crop(prediction.logits) if low_res else frame.restore(prediction.logits),
            "weights": prediction.points.weights,
            "features": prediction.points.features,
            "points_xy": prediction.points.points_xy,
            "presence_logits": prediction.presence_logits,
            "quality": prediction.iou,
        }


class OnWindows(Transparent):
    """Let a system see windows of its square; what it learns serves whole images.

    TinyViT looks at windows of cells only, so its weights fit any size. The positions that decoder and prompter see are
    those of a random place in the square, one for each batch; prompts are in pixels of the window. Not for evaluation.

    Args:
        module: the system, or a wrapper of it; the name is that of other wrappers, see `WithLossInputs`.
        side: of the windows in pixels, see `SAM.window`; the system's image size trains on whole images.

    Shape: window (B, 3, side, side), at the scale of the square -> what `module` gives for it.

    Raises:
        ValueError: the side does not fit.
    """

    def __init__(self, module: System | WithLossInputs, *, side: int) -> None:
        super().__init__(module)
        sam = unwrap(module).sam
        with sam.window(side):
            self.grid = sam.grid
        self.side = side

    def forward(self, image: Tensor, **arguments: Any) -> Any:
        """What the module gives; arguments as `System.forward` takes them."""
        sam = unwrap(self.module).sam
        row, column = torch.randint(sam.grid - self.grid + 1, (2,)).tolist()
        with sam.window(self.side, (row, column)):
            return self.module(image, **arguments)


def unwrap(network: nn.Module) -> Any:
    """The network inside the wrappers of several devices and of training, or the network itself."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel, OnWindows, WithLossInputs)
    return unwrap(network.module) if isinstance(network, wrappers) else network


@contextmanager
def fixed_encoder(system: System) -> Iterator[System]:
    """Let nothing in a system's image encoder train while the block runs, so that its embeddings may be kept.

    What trained in it before is still a part of the adapter afterwards.
    """
    parameters = [parameter for sam in system.sams for parameter in sam.image_encoder.parameters()]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield system
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
