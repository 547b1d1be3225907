"""Charts of the learning-rate trials."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from dnatune.comparison import learning_rates
from dnatune.report.figures import base
from dnatune.settings.rate_choice import Choice

_NAMES = {
    "dev_loss": "dev loss, nats a token",
    "dev_mcc": "dev MCC",
    "dev_f1_macro": "dev macro F1",
}
_FLOOR = "class shares only"


def panels(choices: Sequence[Choice]) -> dict[tuple[str, str], list[Choice]]:
    """Return {(model, task): choice.json of its optimizers}, in the order in which each first appears."""
    return base.panels(choices, lambda choice: (choice.model, choice.task))


def trials_chart(choices: Sequence[Choice], looks: base.Palette) -> base.Drawing | None:
    """Return dev score against learning rate, one line an optimizer; None where every trial diverged.

    The chosen rate has a ring, means of a second step are hollow, and a rate that diverged is a cross at the edge where
    scores are worst. By the dev loss, a line marks the model that knows only the share of each class.

    Args:
        choices: choice.json of the optimizers of one model and task.
        looks: colour, shape and dash of each optimizer.
    """
    metric = choices[0].metric
    tried = {
        False: [_point(one, trial.learning_rate, trial.score(metric)) for one in choices for trial in one.coarse],
        True: [_point(one, rate, mean) for one in choices for rate, mean in learning_rates.fine_scores(one)],
    }
    points, means = ([row for row in tried[fine] if row["score"] is not None] for fine in (False, True))
    lost = [row for rows in tried.values() for row in rows if row["score"] is None]
    if not points + means:
        return None
    floor = [choices[0].class_share_loss] if metric == "dev_loss" and choices[0].class_share_loss is not None else []
    scores = [row["score"] for row in points + means]
    worst = max(scores) if metric == "dev_loss" else min(scores)
    rates = [row["rate"] for row in points + means + lost]
    across = alt.X(
        "rate:Q",
        title="learning rate, log scale",
        scale=alt.Scale(type="log", domain=[min(rates) / 1.3, max(rates) * 1.3], nice=False),
        axis=alt.Axis(format="~g", tickCount=5, grid=False),
    )
    up = _height("score:Q", _NAMES[metric], metric, scores + floor)
    names = [choice.optimizer for choice in choices]
    encoding = {"x": across, "y": up, **base.looks_of(names, looks, "color")}
    rings = [_point(choice, choice.learning_rate, choice.score) for choice in choices if choice.score is not None]
    crosses = [{**row, "score": worst} for row in lost]
    line = base.marks([{"score": value, "rate": max(rates) * 1.3, "name": _FLOOR} for value in floor])
    chart = alt.layer(
        line.mark_rule(color=base.MUTED, strokeDash=[3, 3]).encode(y=up),
        line.mark_text(color=base.MUTED, align="right", dy=-7).encode(x=across, y=up, text="name:N"),
        *base.marked_lines(points, encoding, base.looks_of(names, looks, "shape")),
        base.marks(means).mark_point(size=45, filled=False, opacity=1).encode(**encoding),
        base.marks(rings).mark_point(size=260, strokeWidth=2, opacity=1).encode(**encoding),
        base.marks(crosses).mark_text(text="✕", fontSize=14).encode(**encoding),
    ).properties(height=320)
    keys = ("learning_rate", "search", "seed", metric, "status", "chosen")
    rows = [
        {"optimizer": c.optimizer, **{key: getattr(trial, key) for key in keys}} for c in choices for trial in c.trials
    ]
    rows += [{"optimizer": _FLOOR, metric: value} for value in floor]
    return base.Drawing(chart, pd.DataFrame(rows))


def _point(choice: Choice, rate: float, score: float | None) -> dict[str, Any]:
    return {"optimizer": choice.optimizer, "rate": rate, "score": score}


def expected_chart(choices: Sequence[Choice], looks: base.Palette) -> base.Drawing | None:
    """Return the expected best dev score against the gradient evaluations that the trials cost; None without scores.

    Args:
        choices, looks: as `trials_chart` takes them.
    """
    rows, metric = learning_rates.expected_curves(choices), choices[0].metric
    if not rows:
        return None
    names = [choice.optimizer for choice in choices]
    encoding = {
        "x": alt.X("gradient_evaluations:Q", title="gradient evaluations of the trials", axis=alt.Axis(tickCount=5)),
        "y": _height("score:Q", f"expected best {_NAMES[metric]}", metric, [row["score"] for row in rows]),
        **base.looks_of(names, looks, "color"),
    }
    lines = base.marked_lines(rows, encoding, base.looks_of(names, looks, "shape"))
    chart = alt.layer(*lines).properties(height=320)
    return base.Drawing(chart, pd.DataFrame(rows).rename(columns={"score": f"expected_best_{metric}"}))


def _height(field: str, title: str, metric: str, scores: Sequence[float]) -> alt.Y:
    """Return the vertical axis; losses far apart get a logarithmic one, so that one bad rate hides no other."""
    if metric == "dev_loss" and min(scores) > 0 and max(scores) > 5 * min(scores):
        ends = [min(scores) / 1.1, max(scores) * 1.1]
        scale = alt.Scale(type="log", domain=ends, nice=False)
        return alt.Y(field, title=f"{title}, log scale", scale=scale, axis=alt.Axis(format="~g", tickCount=6))
    return alt.Y(field, title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
