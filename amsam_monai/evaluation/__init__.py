"""Evaluation: scores, protocols, reports and prompt confusion matrices."""
