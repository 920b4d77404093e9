"""Phantoms: drawn images with known masks, in the layouts of real data sets."""
