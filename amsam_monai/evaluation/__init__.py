"""Evaluation: scores, protocols, reports and prompt confusion matrices."""

from amsam_monai.evaluation.case_scores import Score, score_case
from amsam_monai.evaluation.metrics import StrictDice, StrictDiceHandler, VolumeScores, VolumeScoresHandler
from amsam_monai.evaluation.protocols import PROTOCOLS, Protocol, get_protocol
from amsam_monai.evaluation.report_handler import ReportSaver

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "ReportSaver",
    "Score",
    "StrictDice",
    "StrictDiceHandler",
    "VolumeScores",
    "VolumeScoresHandler",
    "get_protocol",
    "score_case",
]
