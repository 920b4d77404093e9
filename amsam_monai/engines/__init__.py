"""Engines: trainers and what they take from a batch."""

from amsam_monai.engines.bilevel_trainer import BilevelTrainer
from amsam_monai.engines.cycling import CyclingSampler, cycling_loader
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.prepare_batch import LowResLoss, PrepareSystemBatch
from amsam_monai.engines.simulated_boxes import SimulatedBoxes
from amsam_monai.engines.split import split_by_patient

__all__ = [
    "BilevelTrainer",
    "CyclingSampler",
    "LowResLoss",
    "PrepareSystemBatch",
    "SimulatedBoxes",
    "cycling_loader",
    "embedding_cache",
    "split_by_patient",
]
