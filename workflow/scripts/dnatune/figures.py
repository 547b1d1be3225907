"""Charts of the report: Altair's, drawn as SVG without a network."""

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from dnatune.comparison import FinishedRun, Group, reliability_of

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/) without yellow, which is lost on white paper. report.css
# holds a lighter twin of each, ink and grid included, for dark screens. Shape and dash tell optimizers apart without
# colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_DASHES = ((1, 0), (7, 3), (2, 2), (8, 3, 2, 3), (4, 2), (1, 3), (12, 4))
_INK, _MUTED, _GRID = "#333333", "#767676", "#e3e3e3"
_WIDTH = 430

#: Most points of one curve; longer ones are thinned.
MOST_POINTS = 400

#: Optimizer → (colour, shape, dash), the same in every figure.
Palette = Mapping[str, tuple[str, str, Sequence[int]]]


def palette(groups: Iterable[Group]) -> Palette:
    """Return the looks of each optimizer, in the order in which each first appears."""
    names = dict.fromkeys(group.optimizer for group in groups)
    return dict(zip(names, itertools.cycle(zip(_COLOURS, _SHAPES, _DASHES, strict=True)), strict=False))


def panels(groups: Iterable[Group]) -> Iterator[tuple[tuple[str, str], list[Group]]]:
    """Yield ((model, task), its groups), in the order in which each first appears."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        found.setdefault((group.model, group.task), []).append(group)
    yield from found.items()


def loss_figure(groups: Sequence[Group]) -> str:
    """Return the figure of training loss against gradient evaluations as SVG: a panel for each model and task."""
    looks = palette(groups)
    charts = [
        chart.properties(title=f"{task}, {model}", width=_WIDTH, height=260)
        for (model, task), members in panels(groups)
        if (chart := curve_chart(members, "loss", looks)) is not None
    ]
    if not charts:
        message = alt.InlineData([{"text": "No run recorded a loss."}])
        charts = [alt.Chart(message, width=_WIDTH).mark_text().encode(text="text:N")]
    return drawn(alt.concat(*charts, columns=2), "white")


def embedded(chart: alt.LayerChart, name: str) -> str:
    """Return a chart as SVG to stand inside HTML: no namespaces, no size, and its own names begin with `name`."""
    # The reader's font may be wider than the one the labels are measured in: the left side has room for that.
    fitted = chart.properties(
        width=_WIDTH,
        padding={"left": 20, "top": 5, "right": 8, "bottom": 5},
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
    )
    text = re.sub(r' (xmlns(:xlink)?|version|class|role|aria-[a-z]+)="[^"]*"', "", drawn(fitted))
    text = re.sub(r'^<svg width="[^"]*" height="[^"]*"', '<svg aria-hidden="true"', text)
    # vl-convert counts clipping paths per figure, or per process: either way two figures of a page would clash.
    clips = dict.fromkeys(re.findall(r'<clipPath id="([^"]+)"', text))
    numbers = {clip: f"{name}-{number}" for number, clip in enumerate(clips)}
    text = re.sub(r'<clipPath id="([^"]+)"', lambda match: f'<clipPath id="{numbers[match[1]]}"', text)
    return re.sub(r'"url\(#([^)]+)\)"', lambda match: f'"url(#{numbers[match[1]]})"', text)


def drawn(chart: Any, background: str = "transparent") -> str:
    """Return a chart as SVG in the report's style."""
    text = {"labelColor": _INK, "titleColor": _INK, "labelFontSize": 12.5, "titleFontSize": 12.5}
    chart = chart.configure(
        aria=False,
        background=background,
        font="Helvetica, Arial, sans-serif",
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            **text, titleFontWeight="normal", gridColor=_GRID, domainColor=_MUTED, tickColor=_MUTED, labelLimit=180
        ),
        legend=alt.LegendConfig(**text, labelLimit=130, orient="top", direction="horizontal", columns=3, title=None),
        title=alt.TitleConfig(color=_INK, fontSize=13, fontWeight="bold", anchor="start"),
    )
    return vl_convert.vegalite_to_svg(chart.to_dict())


def score_chart(
    groups: Sequence[Group],
    rivals: Iterable[Group],
    controls: Sequence[tuple[str, float]],
    metric: str,
    title: str,
    looks: Palette,
) -> alt.LayerChart:
    """Return one dot a seed by optimizer, with the baselines as reference lines.

    Args:
        groups: optimizers of one model and task.
        rivals: optimizers of all models on the task; the axis holds them all, so that panels can be compared.
        controls: (name, value) of the baselines of the task.
        metric: key in metrics.json.
        title: the metric's name.
        looks: colour and shape of each optimizer.
    """
    dots, means, labels = [], [], []
    for group in groups:
        values = group.values(metric)
        lost = len(group.runs) - len(group.completed)
        label = f"{group.optimizer} ({lost} of {len(group.runs)} diverged)" if lost else group.optimizer
        labels.append(label)
        dots += [{"row": label, "value": value, "optimizer": group.optimizer} for value in values]
        if values:
            means.append({"row": label, "value": sum(values) / len(values)})
    lines = [{"row": name, "value": value} for name, value in sorted(controls, key=lambda item: -item[1])]
    labels += [line["row"] for line in lines]
    muted = f"indexof({json.dumps([line['row'] for line in lines])}, datum.value) >= 0"
    rows = alt.Y(
        "row:N",
        sort=labels,
        title=None,
        scale=alt.Scale(domain=labels),
        axis=alt.Axis(
            grid=True,
            ticks=False,
            domain=False,
            labelColor={"condition": {"test": muted, "value": _MUTED}, "value": _INK},
        ),
    )
    reached = [value for group in rivals for value in group.values(metric)] + [line["value"] for line in lines]
    value = alt.X(
        "value:Q",
        title=f"{title} on the test split",
        scale=alt.Scale(domain=[min([0, *reached]), max([0.1, *reached])], nice=True),
        axis=alt.Axis(labelFlush=False, tickCount=6),
    )
    names = list(dict.fromkeys(group.optimizer for group in groups))
    rules = _chart(lines).mark_rule(color=_MUTED, strokeDash=[3, 3], strokeWidth=1).encode(x=value)
    ends = _chart(lines).mark_point(color=_MUTED, shape="diamond", filled=True, size=70, opacity=1)
    ticks = _chart(means).mark_tick(color=_INK, thickness=2, size=20)
    points = _chart(dots).mark_point(filled=True, size=75, opacity=0.8)
    return alt.layer(
        rules,
        ends.encode(x=value, y=rows),
        ticks.encode(x=value, y=rows),
        points.encode(
            x=value,
            y=rows,
            color=_scaled(alt.Color, "optimizer", names, [looks[n][0] for n in names], legend=None),
            shape=_scaled(alt.Shape, "optimizer", names, [looks[n][1] for n in names], legend=None),
        ),
    ).properties(height=70 + 27 * len(labels))


def curve_chart(groups: Sequence[Group], key: str, looks: Palette) -> alt.LayerChart | None:
    """Return a loss against gradient evaluations, one line a run; None where no run has it.

    The training loss is drawn thin as it was and thick as its running mean; the dev loss, which is measured now and
    then, with a mark at each measurement. Runs that diverged do not stretch the axis: their lines leave it.

    Args:
        groups: optimizers of one model and task.
        key: `loss` or `dev_loss`.
        looks: colour, shape and dash of each optimizer.
    """
    runs = [run for group in groups for run in group.runs]
    curves = [(run, curve) for run in runs if len(curve := _curve(run, key))]
    if not curves:
        return None
    shown = [curve for run, curve in curves if not run.diverged] or [curve for _, curve in curves]
    low = min(float(curve["value"].min()) for curve in shown)
    high = max(float(curve["value"].max()) for curve in shown)
    scale, note = alt.Scale(domain=[low, high], nice=True, zero=False), ""
    ticks = alt.Axis(tickCount=6)
    if low > 0 and high > 10 * low:
        scale, note = alt.Scale(type="log", domain=[low, high], nice=False), ", log scale"
        ticks = alt.Axis(values=_decades(low, high), format="~g")
    thin, thick, crosses = [], [], []
    for number, (run, curve) in enumerate(curves):
        place = {"optimizer": run.optimizer, "run": number}
        thin += [{**place, **row} for row in _thinned(curve).to_dict("records")]
        if key == "loss":
            smooth = curve.assign(value=curve["value"].rolling(_window(curve), center=True, min_periods=1).mean())
            step = -(-len(smooth) // (MOST_POINTS // 2))
            thick += [{**place, **row} for row in smooth.iloc[::step].to_dict("records")]
        if run.diverged:
            last = curve.iloc[-1]
            crosses.append({**place, "x": float(last["x"]), "value": min(max(float(last["value"]), low), high)})
    names = list(dict.fromkeys(run.optimizer for run, _ in curves))
    word = "training" if key == "loss" else "dev"
    symbols = alt.Legend(symbolOpacity=1, symbolStrokeWidth=2.2, symbolSize=500) if key == "loss" else alt.Legend()
    spaced = r"replace(format(datum.value, ','), /,/g, '\u202f')"
    encoding = {
        "x": alt.X("x:Q", title="gradient evaluations", axis=alt.Axis(tickCount=5, grid=False, labelExpr=spaced)),
        "y": alt.Y("value:Q", title=f"{word} loss, nats a token{note}", scale=scale, axis=ticks),
        "color": _scaled(alt.Color, "optimizer", names, [looks[n][0] for n in names], legend=symbols),
        "detail": alt.Detail("run:N"),
    }
    if key == "loss":
        dash = _scaled(alt.StrokeDash, "optimizer", names, [list(looks[n][2]) for n in names], legend=symbols)
        # Many raw lines over each other would hide the means.
        faint = min(0.5, max(0.2, 3 / len(curves)))
        layers = [
            _chart(thin).mark_line(strokeWidth=0.7, opacity=faint, clip=True).encode(**encoding),
            _chart(thick).mark_line(strokeWidth=2, clip=True).encode(**encoding, strokeDash=dash),
        ]
    else:
        shape = _scaled(alt.Shape, "optimizer", names, [looks[n][1] for n in names], legend=symbols)
        layers = [
            _chart(thin).mark_line(strokeWidth=1.6, clip=True).encode(**encoding),
            _chart(thin).mark_point(filled=True, size=45, opacity=1).encode(**encoding, shape=shape),
        ]
    for line, name in enumerate(dict.fromkeys(cross["optimizer"] for cross in crosses)):
        ends = [cross for cross in crosses if cross["optimizer"] == name]
        style = {"color": looks[name][0], "align": "left", "dx": -5, "dy": 8 + 16 * line, "fontWeight": "bold"}
        for marks, text in ((ends, "✕"), (ends[-1:], f"✕ {name} diverged")):
            mark = _chart(marks).mark_text(text=text, fontSize=12, **style)
            layers.append(mark.encode(x=encoding["x"], y=encoding["y"]))
    return alt.layer(*layers).properties(height=320)


def calibration_chart(groups: Sequence[Group], looks: Palette) -> alt.LayerChart | None:
    """Return accuracy against confidence, seeds pooled; None where no run has log-probabilities."""
    points = [
        {"optimizer": group.optimizer, **row} for group in groups for row in reliability_of(group).to_dict("records")
    ]
    if not points:
        return None
    low = int(10 * min(min(point["confidence"], point["accuracy"]) for point in points)) / 10
    scale, axis = alt.Scale(domain=[low, 1], nice=False), alt.Axis(tickCount=6, format=".1f", labelFlush=False)
    names = list(dict.fromkeys(point["optimizer"] for point in points))
    encoding = {
        "x": alt.X("confidence:Q", title="confidence: probability of the predicted class", scale=scale, axis=axis),
        "y": alt.Y("accuracy:Q", title="share that is right", scale=scale, axis=axis),
        "color": _scaled(alt.Color, "optimizer", names, [looks[n][0] for n in names], legend=alt.Legend()),
    }
    diagonal = _chart([{"confidence": end, "accuracy": end} for end in (low, 1)])
    shape = _scaled(alt.Shape, "optimizer", names, [looks[n][1] for n in names], legend=alt.Legend())
    return alt.layer(
        diagonal.mark_line(color=_MUTED, strokeDash=[3, 3], strokeWidth=1).encode(x=encoding["x"], y=encoding["y"]),
        _chart(points).mark_line(strokeWidth=1.6).encode(**encoding),
        _chart(points).mark_point(filled=True, opacity=1, size=65).encode(**encoding, shape=shape),
    ).properties(height=340)


def _chart(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(list(rows)))


def _scaled(channel: Any, field: str, names: list[str], looks: list[Any], legend: alt.Legend | None) -> Any:
    return channel(f"{field}:N", scale=alt.Scale(domain=names, range=looks), legend=legend)


def _curve(run: FinishedRun, key: str) -> pd.DataFrame:
    """Return columns x (gradient evaluations) and value; steps without a finite value are left out."""
    pairs = [(row["gradient_evaluations"], row[key]) for row in run.log if row.get(key) is not None]
    return pd.DataFrame(pairs, columns=["x", "value"], dtype=float)


def _decades(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 and their decades between two values, as ticks of a logarithmic axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high]


def _window(curve: pd.DataFrame) -> int:
    return max(1, len(curve) // 20)


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Return at most MOST_POINTS points: of each stretch its lowest and its highest, so that no spike is lost."""
    if len(curve) <= MOST_POINTS:
        return curve
    stretch = pd.Series(range(len(curve)), index=curve.index) * (MOST_POINTS // 2) // len(curve)
    values = curve["value"].groupby(stretch)
    return curve.loc[sorted({*values.idxmin(), *values.idxmax()})]
