"""Handlers for MONAI's engines: adapter files, resuming, learning rates, overlay pictures."""

from amsam_monai.handlers.adapters import AdapterCheckpointLoader, AdapterSaver
from amsam_monai.handlers.checkpoints import adapter_state, load_adapter, read_checkpoint, save_atomically
from amsam_monai.handlers.clipping import ClipGradients
from amsam_monai.handlers.divergence import DivergenceError, StopOnDivergence
from amsam_monai.handlers.early_stop import StopEarly
from amsam_monai.handlers.overlays import OverlaySaver, draw_overlay
from amsam_monai.handlers.run_options import loss_options, optimizer_options
from amsam_monai.handlers.schedule import PolynomialDecay
from amsam_monai.handlers.train_state import TrainState

__all__ = [
    "AdapterCheckpointLoader",
    "AdapterSaver",
    "ClipGradients",
    "DivergenceError",
    "OverlaySaver",
    "PolynomialDecay",
    "StopEarly",
    "StopOnDivergence",
    "TrainState",
    "adapter_state",
    "draw_overlay",
    "load_adapter",
    "loss_options",
    "optimizer_options",
    "read_checkpoint",
    "save_atomically",
]
