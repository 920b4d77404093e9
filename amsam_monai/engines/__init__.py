"""Engines: trainers and what they take from a batch."""

from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.prepare_batch import LowResLoss, PrepareSystemBatch

__all__ = ["LowResLoss", "PrepareSystemBatch", "embedding_cache"]
