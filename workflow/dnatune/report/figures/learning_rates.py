"""Charts of the learning-rate trials."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from dnatune.comparison import learning_rates
from dnatune.report import figures

_NAMES = {
    "dev_loss": "dev loss, nats a token",
    "dev_mcc": "dev MCC",
    "dev_f1_macro": "dev macro F1",
}


def figure(choices: Sequence[Mapping[str, Any]], looks: figures.Palette) -> str:
    """Return the figure of all trials as SVG: for each model and task its trials and its expected best score."""
    charts = [
        drawing.chart.properties(title=f"{task}, {model}", height=260)
        for (model, task), members in panels(choices).items()
        for drawing in (trials_chart(members, looks), expected_chart(members, looks))
        if drawing is not None
    ]
    if not charts:
        message = alt.InlineData([{"text": "Every trial diverged."}])
        charts = [alt.Chart(message).mark_text().encode(text="text:N")]
    return figures.svg(alt.concat(*charts, columns=2), "white")


def panels(choices: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return {(model, task): choice.json of its optimizers}, in the order in which each first appears."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for choice in choices:
        found.setdefault((choice["model"], choice["task"]), []).append(choice)
    return found


def trials_chart(choices: Sequence[Mapping[str, Any]], looks: figures.Palette) -> figures.Drawing | None:
    """Return dev score against learning rate, one line an optimizer; None where every trial diverged.

    The chosen rate has a ring; a diverged trial is a cross at the edge where scores are worst.

    Args:
        choices: choice.json of the optimizers of one model and task.
        looks: colour, shape and dash of each optimizer.
    """
    metric = choices[0]["metric"]
    points, lost = [], []
    for choice in choices:
        for trial in choice["trials"]:
            row = {"optimizer": choice["optimizer"], "rate": trial["learning_rate"], "chosen": trial["chosen"]}
            if trial[metric] is None:
                lost.append(row)
            else:
                points.append({**row, "score": trial[metric]})
    if not points:
        return None
    scores = [point["score"] for point in points]
    worst = max(scores) if metric == "dev_loss" else min(scores)
    rates = [row["rate"] for row in points + lost]
    across = alt.X(
        "rate:Q",
        title="learning rate, log scale",
        scale=alt.Scale(type="log", domain=[min(rates) / 1.3, max(rates) * 1.3], nice=False),
        axis=alt.Axis(format="~g", tickCount=5, grid=False),
    )
    up = _height("score:Q", _NAMES[metric], metric, scores)
    encoding = {"x": across, "y": up, **_colours(choices, looks)}
    shape = {**encoding, "shape": _scale(alt.Shape, choices, [looks[c["optimizer"]][1] for c in choices])}
    rings = [point for point in points if point["chosen"]]
    crosses = [{**row, "score": worst} for row in lost]
    chart = alt.layer(
        _chart(points).mark_line(strokeWidth=1.6).encode(**encoding),
        _chart(points).mark_point(filled=True, size=45, opacity=1).encode(**shape),
        _chart(rings).mark_point(size=260, strokeWidth=2, opacity=1).encode(**encoding),
        _chart(crosses).mark_text(text="✕", fontSize=14).encode(**encoding),
    ).properties(height=320)
    keys = ("learning_rate", metric, "status", "chosen")
    rows = [
        {"optimizer": c["optimizer"], **{key: trial[key] for key in keys}} for c in choices for trial in c["trials"]
    ]
    return figures.Drawing(chart, pd.DataFrame(rows))


def expected_chart(choices: Sequence[Mapping[str, Any]], looks: figures.Palette) -> figures.Drawing | None:
    """Return the expected best dev score against the gradient evaluations that the trials cost; None without scores.

    Args:
        choices, looks: as `trials_chart` takes them.
    """
    rows, metric = learning_rates.expected_curves(choices), choices[0]["metric"]
    if not rows:
        return None
    encoding = {
        "x": alt.X("gradient_evaluations:Q", title="gradient evaluations of the trials", axis=alt.Axis(tickCount=5)),
        "y": _height("score:Q", f"expected best {_NAMES[metric]}", metric, [row["score"] for row in rows]),
        **_colours(choices, looks),
    }
    shape = _scale(alt.Shape, choices, [looks[c["optimizer"]][1] for c in choices])
    chart = alt.layer(
        _chart(rows).mark_line(strokeWidth=1.6).encode(**encoding),
        _chart(rows).mark_point(filled=True, size=45, opacity=1).encode(**encoding, shape=shape),
    ).properties(height=320)
    return figures.Drawing(chart, pd.DataFrame(rows).rename(columns={"score": f"expected_best_{metric}"}))


def _chart(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(list(rows)))


def _height(field: str, title: str, metric: str, scores: Sequence[float]) -> alt.Y:
    """Return the vertical axis; losses far apart get a logarithmic one, so that one bad rate hides no other."""
    if metric == "dev_loss" and min(scores) > 0 and max(scores) > 5 * min(scores):
        ends = [min(scores) / 1.1, max(scores) * 1.1]
        scale = alt.Scale(type="log", domain=ends, nice=False)
        return alt.Y(field, title=f"{title}, log scale", scale=scale, axis=alt.Axis(format="~g", tickCount=6))
    return alt.Y(field, title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))


def _colours(choices: Sequence[Mapping[str, Any]], looks: figures.Palette) -> dict[str, Any]:
    return {"color": _scale(alt.Color, choices, [looks[choice["optimizer"]][0] for choice in choices])}


def _scale(channel: Any, choices: Sequence[Mapping[str, Any]], values: list[Any]) -> Any:
    names = [choice["optimizer"] for choice in choices]
    return channel("optimizer:N", scale=alt.Scale(domain=names, range=values), legend=alt.Legend())
