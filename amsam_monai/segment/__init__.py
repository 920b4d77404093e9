"""Inferers: from a volume to slices, through a network, and back; and the interactive session."""
