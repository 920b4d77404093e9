"""Evaluation: scores, protocols, reports and prompt confusion matrices."""

from typing import TYPE_CHECKING

from amsam_monai.lazy import lazily

if TYPE_CHECKING:
    from amsam_monai.evaluation.report_handler import ReportSaver
    from amsam_monai.evaluation.scoring.case_scores import score_case
    from amsam_monai.evaluation.scoring.metrics import StrictDice, StrictDiceHandler, VolumeScores, VolumeScoresHandler
    from amsam_monai.evaluation.scoring.protocols import PROTOCOLS, Protocol, get_protocol
    from amsam_monai.evaluation.scoring.score import Score

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

__getattr__ = lazily(
    __name__,
    {
        **dict.fromkeys(("PROTOCOLS", "Protocol", "get_protocol"), "scoring.protocols"),
        **dict.fromkeys(("StrictDice", "StrictDiceHandler", "VolumeScores", "VolumeScoresHandler"), "scoring.metrics"),
        "ReportSaver": "report_handler",
        "Score": "scoring.score",
        "score_case": "scoring.case_scores",
    },
)
