"""Charts of the report: Altair's, drawn as SVG without a network."""

from dnatune.report.figures.base import Drawing, Palette, embedded, image, looks_for, palette, panels, place_of
from dnatune.report.figures.scores import (
    calibration_chart,
    cost_chart,
    forest_chart,
    profile_chart,
    roc_chart,
    score_chart,
)
from dnatune.report.figures.training import (
    MOST_POINTS,
    Spent,
    curve_chart,
    gpu_hours,
    gradient_evaluations,
    loss_figure,
    points_each,
    thinned,
    wall_time,
)

__all__ = [
    "MOST_POINTS",
    "Drawing",
    "Palette",
    "Spent",
    "calibration_chart",
    "cost_chart",
    "curve_chart",
    "embedded",
    "forest_chart",
    "gpu_hours",
    "gradient_evaluations",
    "image",
    "looks_for",
    "loss_figure",
    "palette",
    "panels",
    "place_of",
    "points_each",
    "profile_chart",
    "roc_chart",
    "score_chart",
    "thinned",
    "wall_time",
]
