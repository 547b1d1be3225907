"""Charts of what the runs reached: scores, differences, calibration, ROC, cost, many tasks."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence

import altair as alt
import pandas as pd

from dnatune.comparison.pooled_predictions import reliability_of, roc_of
from dnatune.comparison.results import Group
from dnatune.comparison.verdict_rows import VerdictRow
from dnatune.report.figures.base import (
    Drawing,
    Palette,
    diagonal,
    line_legend,
    looks_of,
    marked_lines,
    marks,
    names_of,
    time_unit,
)
from dnatune.report.figures.style import COLOURS, GRID, INK, MUTED


def score_chart(
    groups: Sequence[Group],
    rivals: Iterable[Group],
    controls: Sequence[tuple[str, float]],
    metric: str,
    title: str,
    looks: Palette,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Drawing:
    """Return one dot a seed by optimizer, the highest mean first, with reference lines.

    Args:
        groups: optimizers of one model and task.
        rivals: optimizers of all models on the task; the axis holds them all, so that panels can be compared.
        controls: (name, value) of the reference lines: baselines, the base model, a published figure.
        metric: key in metrics.json.
        title: the metric's name.
        looks: colour and shape of each optimizer.
        limits: of the interval of an optimizer's mean, where there is one and it is to be drawn.
    """
    values_of = {group.optimizer: group.values(metric) for group in groups}
    means = {name: sum(values) / len(values) for name, values in values_of.items() if values}
    ordered = sorted(groups, key=lambda group: -means.get(group.optimizer, -math.inf))
    labels = {group.optimizer: _label(group) for group in ordered}
    dots = [
        {"row": label, "optimizer": name, "value": one} for name, label in labels.items() for one in values_of[name]
    ]
    bars = [{"row": labels[name], "value": mean} for name, mean in means.items()]
    ranges = [
        {"row": labels[name], "optimizer": name, "low": low, "high": high}
        for name, (low, high) in (limits or {}).items()
    ]
    lines = [{"row": name, "value": value} for name, value in sorted(controls, key=lambda item: -item[1])]
    rows = [*labels.values(), *(line["row"] for line in lines)]
    y = _row_names(rows, [line["row"] for line in lines])
    all_values = [0, *(value for group in rivals for value in group.values(metric)), *(line["value"] for line in lines)]
    all_values += [one[end] for one in ranges for end in ("low", "high")]
    scale = alt.Scale(domain=[min(all_values), max(0.1, *all_values)], nice=True)
    x = alt.X("value:Q", title=f"{title} on the test split", scale=scale, axis=alt.Axis(labelFlush=False, tickCount=6))
    looks_here = looks_of(names_of(dots), looks, "color", "shape", legend=None)
    ends = {"color": MUTED, "shape": "diamond", "filled": True, "size": 70, "opacity": 1}
    # Without rows there is nothing that could give the layer a scale of colours.
    spans = [
        marks(ranges)
        .mark_rule(strokeWidth=7, opacity=0.3)
        .encode(x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=looks_here["color"])
    ] * bool(ranges)
    chart = alt.layer(
        marks(lines).mark_rule(color=MUTED, strokeDash=[3, 3], strokeWidth=1).encode(x=x),
        marks(lines).mark_point(**ends).encode(x=x, y=y),
        *spans,
        marks(bars).mark_tick(color=INK, thickness=2, size=20).encode(x=x, y=y),
        marks(dots)
        .mark_point(filled=True, size=75 if limits is None else 50, opacity=0.8)
        .encode(x=x, y=y, **looks_here),
    ).properties(height=(70 + 27 * len(rows)) if limits is None else 40 + 21 * len(rows))
    shown = [{"optimizer": dot["optimizer"], metric: dot["value"]} for dot in dots]
    shown += [{"optimizer": line["row"], metric: line["value"]} for line in lines]
    return Drawing(chart, pd.DataFrame(shown, columns=["optimizer", metric]))


def _label(group: Group) -> str:
    """Return the name of an optimizer's row, which says how many of its runs diverged."""
    lost = len(group.runs) - len(group.completed)
    return f"{group.optimizer} ({lost} of {len(group.runs)} diverged)" if lost else group.optimizer


def _row_names(labels: list[str], muted: list[str]) -> alt.Y:
    """Return the vertical axis of named rows, some of them in grey."""
    test = f"indexof({json.dumps(muted)}, datum.value) >= 0"
    colour = {"condition": {"test": test, "value": MUTED}, "value": INK}
    axis = alt.Axis(grid=True, ticks=False, domain=False, labelColor=colour)
    return alt.Y("row:N", sort=labels, title=None, scale=alt.Scale(domain=labels), axis=axis)


def calibration_chart(groups: Sequence[Group], looks: Palette) -> Drawing | None:
    """Return accuracy against confidence, seeds pooled; None where no run has log-probabilities."""
    points = [
        {"optimizer": group.optimizer, **row} for group in groups for row in reliability_of(group).to_dict("records")
    ]
    if not points:
        return None
    low = int(10 * min(min(point["confidence"], point["accuracy"]) for point in points)) / 10
    scale, axis = alt.Scale(domain=[low, 1], nice=False), alt.Axis(tickCount=6, format=".1f", labelFlush=False)
    names = names_of(points)
    x = alt.X("confidence:Q", title="confidence: probability of the predicted class", scale=scale, axis=axis)
    y = alt.Y("accuracy:Q", title="share that is right", scale=scale, axis=axis)
    encoding = {"x": x, "y": y, **looks_of(names, looks, "color")}
    lines = marked_lines(points, encoding, looks_of(names, looks, "shape"), size=65)
    chart = alt.layer(diagonal(x, y, low), *lines).properties(height=340)
    return Drawing(chart, pd.DataFrame(points))


def roc_chart(groups: Sequence[Group], looks: Palette) -> Drawing | None:
    """Return the true-positive against the false-positive rate; None where no run allows one."""
    rows = [{"optimizer": group.optimizer, **row} for group in groups for row in roc_of(group).to_dict("records")]
    if not rows:
        return None
    scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(tickCount=6, format=".1f", labelFlush=False)
    x = alt.X("false_positive_rate:Q", title="share of the others taken for the class", scale=scale, axis=axis)
    y = alt.Y("true_positive_rate:Q", title="share of the class that is found", scale=scale, axis=axis)
    looks_here = looks_of(names_of(rows), looks, "color", "strokeDash", legend=line_legend())
    lines = marks(rows).mark_line(strokeWidth=2).encode(x=x, y=y, **looks_here)
    chart = alt.layer(diagonal(x, y), lines).properties(height=340)
    return Drawing(chart, pd.DataFrame(rows))


def forest_chart(pairs: Sequence[VerdictRow], margin: float, title: str) -> Drawing | None:
    """Return the difference of each pair with its interval; None where no pair has one.

    Args:
        pairs: rows of tests.tsv, of one model and task.
        margin: largest difference that does not matter; drawn as a band around 0.
        title: the metric's name.
    """
    named = [
        {
            "pair": f"{pair.first} − {pair.second}",
            **{key: getattr(pair, key) for key in ("difference", "low", "high")},
        }
        for pair in pairs
    ]
    rows = [
        {**row, "decided": pair.decided}
        for row, pair in zip(named, pairs, strict=True)
        if row["difference"] is not None and row["low"] is not None
    ]
    if not rows:
        return None
    reach = max(abs(row[end]) for row in rows for end in ("low", "high"))
    place = alt.Y("pair:N", sort=[row["pair"] for row in rows], title=None, axis=alt.Axis(ticks=False, domain=False))
    scale = alt.Scale(domain=[-max(reach, margin), max(reach, margin)], nice=True)
    value = alt.X("difference:Q", title=f"difference in {title}", scale=scale, axis=alt.Axis(tickCount=4))
    colour = alt.Color("decided:N", scale=alt.Scale(domain=[True, False], range=[COLOURS[0], MUTED]), legend=None)
    low = alt.X("low:Q", scale=scale)
    chart = alt.layer(
        marks([{"low": -margin, "high": margin}]).mark_rect(color=GRID).encode(x=low, x2="high:Q"),
        marks([{"difference": 0}]).mark_rule(color=INK, strokeWidth=1).encode(x=value),
        marks(rows).mark_rule(strokeWidth=2.4).encode(x=low, x2="high:Q", y=place, color=colour),
        marks(rows).mark_point(filled=True, size=85, opacity=1).encode(x=value, y=place, color=colour),
    ).properties(height=60 + 30 * len(rows))
    return Drawing(chart, pd.DataFrame(named))


def cost_chart(groups: Sequence[Group], metric: str, title: str, looks: Palette) -> Drawing | None:
    """Return each run's score against its wall time; None where no run completed.

    Args:
        groups: optimizers of one model and task.
        metric: key in metrics.json.
        title: the metric's name.
        looks: colour and shape of each optimizer.
    """
    rows = [
        {
            "optimizer": group.optimizer,
            "seed": run.seed,
            "wall_seconds": run.record.wall_seconds,
            metric: run.metrics.score(metric),
        }
        for group in groups
        for run in group.completed
        if run.metrics.score(metric) is not None
    ]
    if not rows:
        return None
    unit, size = time_unit(max(row["wall_seconds"] for row in rows))
    points = marks([{**row, "x": row["wall_seconds"] / size, "y": row[metric]} for row in rows])
    chart = points.mark_point(filled=True, size=85, opacity=0.85).encode(
        x=alt.X("x:Q", title=f"wall time of training, {unit}", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=6)),
        y=alt.Y("y:Q", title=f"{title} on the test split", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6)),
        **looks_of(names_of(rows), looks, "color", "shape"),
    )
    return Drawing(alt.layer(chart).properties(height=300), pd.DataFrame(rows))


def profile_chart(profiles: pd.DataFrame, title: str, looks: Palette) -> Drawing:
    """Return the share of runs above each score, over all tasks.

    Args:
        profiles: columns optimizer, score and share.
        title: of the score.
        looks: colour and dash of each optimizer.
    """
    names = list(dict.fromkeys(profiles["optimizer"]))
    # Two long names do not fit side by side.
    legend = line_legend(columns=1 if max(map(len, names)) > 20 else 2, labelLimit=330)
    chart = (
        marks(profiles)
        .mark_line(strokeWidth=2, interpolate="step-after")
        .encode(
            x=alt.X("score:Q", title=title, axis=alt.Axis(tickCount=6)),
            y=alt.Y("share:Q", title="share of runs with a higher score", scale=alt.Scale(domain=[0, 1])),
            **looks_of(names, looks, "color", "strokeDash", legend=legend),
        )
    )
    return Drawing(alt.layer(chart).properties(height=300), profiles)
