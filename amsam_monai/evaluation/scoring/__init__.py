"""How a mask is scored: overlap, surfaces, structure, and the protocols that papers score by."""
