"""Measures of salient and camouflaged object detection, for polyps and video frames, through pysodmetrics."""

from __future__ import annotations

import numpy as np

SOD_METRICS = ("s_measure", "e_measure", "weighted_f", "f_mean")


def structure_scores(pred: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """S-measure (alpha 0.5), mean E-measure, weighted F (beta 1) and mean F (beta squared 0.3) of one picture.

    "Mean" is over the 256 thresholds of the prediction as a grey picture. A mask gives nearly the same value at each,
    so the published numbers need the probabilities: hand those in where there are any.

    Args:
        pred: a mask, or probabilities in [0, 1].
        label: a mask.

    Shape: pred and label (H, W).

    Raises:
        ValueError: not two pictures of one shape, or probabilities outside [0, 1].
    """
    from py_sod_metrics import Emeasure, FmeasureHandler, FmeasureV2, Smeasure, WeightedFmeasure

    if pred.ndim != 2 or pred.shape != label.shape:
        raise ValueError(f"S, E and F measures are of pictures (H, W), got {pred.shape} and {label.shape}.")
    if pred.min() < 0 or pred.max() > 1:
        raise ValueError(f"probabilities must lie in [0, 1], got {pred.min():.4g} to {pred.max():.4g}.")
    grey = np.rint(pred.astype(np.float64) * 255).astype(np.uint8)
    truth = label.astype(np.uint8) * 255
    measures = (
        Smeasure(),
        Emeasure(),
        WeightedFmeasure(),
        FmeasureV2({"f": FmeasureHandler(with_dynamic=True, with_adaptive=False, beta=0.3)}),
    )
    for measure in measures:
        measure.step(grey, truth)
    s, e, weighted, f = (measure.get_results() for measure in measures)
    values = s["sm"], e["em"]["curve"].mean(), weighted["wfm"], f["f"]["dynamic"].mean()
    return dict(zip(SOD_METRICS, map(float, values), strict=True))
