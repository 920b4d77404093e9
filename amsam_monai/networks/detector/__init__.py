"""The box detector: loading, training, and boxes around dark objects."""
