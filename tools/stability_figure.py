"""The figure of stability regions, in which a step multiplies no error by more than one."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from numpy.polynomial import Polynomial

from dnatune.optimizers import stability_polynomial
from dnatune.report.figures.style import COLOURS

#: Name in the legend → method and hyperparameters, in the order of the legend.
SHOWN: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sgd, rk4_single_gradient": ("sgd", {}),
    "heun": ("heun", {}),
    "rk4, rk4_38": ("rk4", {}),
    "rkc, 4 stages": ("rkc", {"stages": 4}),
}
_ANGLES = 200


def boundary(method: str, **hyperparameters: Any) -> np.ndarray:
    """Return points of the boundary |R(z)| = 1 [points], complex.

    For each angle φ, the roots of R(z) = exp(iφ) are all points of the boundary where R has this phase (Hairer and
    Wanner 1996, Solving Ordinary Differential Equations II, IV.2).
    """
    polynomial = stability_polynomial(method, Polynomial([0, 1]), **hyperparameters)
    phases = np.exp(2j * np.pi * np.arange(_ANGLES) / _ANGLES)
    return np.concatenate([(polynomial - phase).roots() for phase in phases])


def stability_figure() -> str:
    """Return the figure as SVG."""
    rows = [
        {"method": name, "real": point.real, "imaginary": point.imag}
        for name, (method, hyperparameters) in SHOWN.items()
        for point in boundary(method, **hyperparameters)
    ]
    low, high = min(row["real"] for row in rows), max(row["real"] for row in rows)
    reach = max(row["imaginary"] for row in rows)
    scale = 760 / (high - low + 2)
    chart = (
        alt.Chart(pd.DataFrame(rows), width=760, height=round(2 * (reach + 0.5) * scale))
        .mark_circle(size=4, opacity=1, aria=False)
        .encode(
            x=alt.X("real", title="real part of z = −hλ", scale=_between(low - 1, high + 1)),
            y=alt.Y("imaginary", title="imaginary part", scale=_between(-reach - 0.5, reach + 0.5)),
            color=alt.Color(
                "method",
                title=None,
                sort=list(SHOWN),
                scale=alt.Scale(domain=list(SHOWN), range=COLOURS[: len(SHOWN)]),
                legend=alt.Legend(orient="top", symbolSize=80, labelLimit=300),
            ),
        )
    )
    return vl_convert.vegalite_to_svg(chart.configure(background="white").to_dict(), allowed_base_urls=[])


def _between(low: float, high: float) -> alt.Scale:
    return alt.Scale(domain=[low, high], nice=False)
