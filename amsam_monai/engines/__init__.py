"""Engines: trainers and what they take from a batch."""
