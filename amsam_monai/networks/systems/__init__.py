"""The systems: AM-SAM, AI-SAM, AutoSAM, their union, and networks from scratch."""
