"""Pretrained weights: the catalogue, and how a file of it is found, fetched and read."""
