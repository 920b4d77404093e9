"""Data: datalists, files, slices, embedding cache and phantoms."""
