"""Rows of `scripts/bench_own.py`: tasks, methods, rivals, scores."""
