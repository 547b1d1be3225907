"""Charts of training: a value of the log against what was spent to reach it."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from dnatune.comparison.results import FinishedRun, Group
from dnatune.report.figures.base import Drawing, Palette, line_legend, looks_of, marked_lines, marks, time_unit

#: Most points of one curve; longer ones are thinned.
MOST_POINTS = 400
#: Most points of all curves of a figure, so that a page of very many runs can still be opened.
_MOST_TOGETHER = 40_000
#: A run, and its curve: columns x and value.
_RunCurve = tuple[FinishedRun, pd.DataFrame]
_SPACED = r"replace(format(datum.value, ','), /,/g, '\u202f')"


@dataclasses.dataclass(frozen=True)
class Spent:
    """What a curve is drawn against.

    Attributes:
        name: column of the data.
        title: of the axis.
        of: returns it for a line of a run's log; None where it is not known.
    """

    name: str
    title: str
    of: Callable[[FinishedRun, Mapping[str, Any]], float | None]


def gradient_evaluations() -> Spent:
    """Return forward and backward passes over a global batch."""
    return Spent("gradient_evaluations", "gradient evaluations", lambda _, row: row["gradient_evaluations"])


def wall_time(groups: Sequence[Group]) -> Spent:
    """Return wall time since training began, in the unit that suits the longest run."""
    longest = max((row.get("seconds") or 0 for group in groups for run in group.runs for row in run.log), default=0)
    unit, size = time_unit(longest)
    return Spent(
        f"wall_{unit}",
        f"wall time, {unit}",
        lambda _, row: None if row.get("seconds") is None else row["seconds"] / size,
    )


def gpu_hours() -> Spent:
    """Return wall time × GPUs; of a run on a CPU None."""

    def of(run: FinishedRun, row: Mapping[str, Any]) -> float | None:
        seconds = row.get("seconds")
        return None if seconds is None or not run.record.gpu_seconds else seconds * run.record.ranks / 3600

    return Spent("gpu_hours", "GPU-hours", of)


_TITLES = {"loss": "training loss, nats a token", "dev_loss": "dev loss, nats a token", "dev_accuracy": "dev accuracy"}


def curve_chart(
    groups: Sequence[Group], key: str, spent: Spent, looks: Palette, most_points: int = MOST_POINTS
) -> Drawing | None:
    """Return a value of the log against what was spent, one line a run; None where no run has it.

    The training loss is drawn thin as it was and thick as its running mean; dev values, which are measured now and
    then, with a mark at each measurement. Runs that diverged do not stretch the axis: their lines leave it.

    Args:
        groups: optimizers of one model and task.
        key: `loss`, `dev_loss` or `dev_accuracy`.
        spent: the horizontal axis.
        looks: colour, shape and dash of each optimizer.
        most_points: of one curve.
    """
    runs = [run for group in groups for run in group.runs]
    curves = [(run, curve) for run in runs if len(curve := _curve(run, key, spent))]
    if not curves:
        return None
    shown = [curve for run, curve in curves if not run.diverged] or [curve for _, curve in curves]
    low = min(float(curve["value"].min()) for curve in shown)
    high = max(float(curve["value"].max()) for curve in shown)
    legend = line_legend() if key == "loss" else alt.Legend()
    names = list(dict.fromkeys(run.optimizer for run, _ in curves))
    encoding = {
        "x": alt.X("x:Q", title=spent.title, axis=alt.Axis(tickCount=5, grid=False, labelExpr=_SPACED)),
        "y": _height(key, low, high),
        "detail": alt.Detail("run:N"),
        **looks_of(names, looks, "color", legend=legend),
    }
    thin = _rows(curves, lambda curve: thinned(curve, most_points))
    if key == "loss":
        thick = _rows(curves, lambda curve: _running_mean(curve, most_points // 2))
        # Many raw lines over each other would hide the means.
        faint = min(0.5, max(0.2, 3 / len(curves)))
        dash = looks_of(names, looks, "strokeDash", legend=legend)
        layers = [
            marks(thin).mark_line(strokeWidth=0.7, opacity=faint, clip=True).encode(**encoding),
            marks(thick).mark_line(strokeWidth=2, clip=True).encode(**encoding, **dash),
        ]
    else:
        layers = marked_lines(thin, encoding, looks_of(names, looks, "shape", legend=legend), clip=True)
    layers += _crosses(curves, low, high, encoding, looks)
    seeds = [run.seed for run, _ in curves]
    data = pd.DataFrame(
        [{"optimizer": r["optimizer"], "seed": seeds[r["run"]], spent.name: r["x"], key: r["value"]} for r in thin]
    )
    return Drawing(alt.layer(*layers).properties(height=320), data)


def _height(key: str, low: float, high: float) -> alt.Y:
    """Return the vertical axis; a loss that spans more than a decade gets a logarithmic one."""
    if key != "dev_accuracy" and low > 0 and high > 10 * low:
        scale, axis = (
            alt.Scale(type="log", domain=[low, high], nice=False),
            alt.Axis(values=_decades(low, high), format="~g"),
        )
        return alt.Y("value:Q", title=f"{_TITLES[key]}, log scale", scale=scale, axis=axis)
    scale = alt.Scale(domain=[low, high], nice=True, zero=False)
    return alt.Y("value:Q", title=_TITLES[key], scale=scale, axis=alt.Axis(tickCount=6))


def _rows(curves: Sequence[_RunCurve], shorten: Callable[[pd.DataFrame], pd.DataFrame]) -> list[dict[str, Any]]:
    """Return the shortened curves as rows that name optimizer and run."""
    return [
        {"optimizer": run.optimizer, "run": number, **row}
        for number, (run, curve) in enumerate(curves)
        for row in shorten(curve).to_dict("records")
    ]


def _crosses(
    curves: Sequence[_RunCurve], low: float, high: float, encoding: Mapping[str, Any], looks: Palette
) -> list[alt.Chart]:
    """Return a cross where each diverged run ended, and beside an optimizer's last one its name."""
    ends: dict[str, list[dict[str, float]]] = {}
    for run, curve in curves:
        if run.diverged:
            last = curve.iloc[-1]
            end = {"x": float(last["x"]), "value": min(max(float(last["value"]), low), high)}
            ends.setdefault(run.optimizer, []).append(end)
    layers = []
    for line, (name, places) in enumerate(ends.items()):
        style = {"color": looks[name][0], "align": "left", "dx": -5, "dy": 8 + 16 * line, "fontWeight": "bold"}
        for shown, text in ((places, "✕"), (places[-1:], f"✕ {name} diverged")):
            mark = marks(shown).mark_text(text=text, fontSize=12, **style)
            layers.append(mark.encode(x=encoding["x"], y=encoding["y"]))
    return layers


def _running_mean(curve: pd.DataFrame, most_points: int) -> pd.DataFrame:
    """Return the running mean over a twentieth of the run, at about `most_points` points."""
    window = max(1, len(curve) // 20)
    smooth = curve.assign(value=curve["value"].rolling(window, center=True, min_periods=1).mean())
    return smooth.iloc[:: -(-len(smooth) // most_points)]


def points_each(groups: Sequence[Group]) -> int:
    """Return how many points a curve may have, so that all runs together stay drawable."""
    return max(40, min(MOST_POINTS, _MOST_TOGETHER // max(1, sum(len(group.runs) for group in groups))))


def _curve(run: FinishedRun, key: str, spent: Spent) -> pd.DataFrame:
    """Return columns x (what was spent) and value; steps without a finite value are left out."""
    pairs = [(spent.of(run, row), row[key]) for row in run.log if row.get(key) is not None]
    return pd.DataFrame([pair for pair in pairs if pair[0] is not None], columns=["x", "value"], dtype=float)


def _decades(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 and their decades between two values, as ticks of a logarithmic axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high]


def thinned(curve: pd.DataFrame, most_points: int = MOST_POINTS) -> pd.DataFrame:
    """Return at most `most_points` points: of each stretch its lowest and its highest, so that no spike is lost."""
    if len(curve) <= most_points:
        return curve
    stretch = pd.Series(range(len(curve)), index=curve.index) * (most_points // 2) // len(curve)
    values = curve["value"].groupby(stretch)
    return curve.loc[sorted({*values.idxmin(), *values.idxmax()})]
