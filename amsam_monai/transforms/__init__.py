"""Transforms: intensity, SAM input and simulated prompts."""
