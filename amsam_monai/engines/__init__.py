"""Engines: trainers and what they take from a batch."""

from amsam_monai.engines.bilevel_trainer import BilevelTrainer
from amsam_monai.engines.cycling import CyclingSampler, EpochSampler, cycling_loader, epoch_loader
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.prepare_batch import PrepareSystemBatch
from amsam_monai.engines.simulated_boxes import SimulatedBoxes, SimulatedObjects
from amsam_monai.engines.split import split_by_patient, subsets_by_patient

__all__ = [
    "BilevelTrainer",
    "CyclingSampler",
    "EpochSampler",
    "PrepareSystemBatch",
    "SimulatedBoxes",
    "SimulatedObjects",
    "cycling_loader",
    "embedding_cache",
    "epoch_loader",
    "split_by_patient",
    "subsets_by_patient",
]
