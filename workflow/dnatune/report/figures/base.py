"""What all charts share: Altair's marks drawn as SVG without a network, and the looks of each optimizer."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import altair as alt
import pandas as pd
import vl_convert

from dnatune.comparison.results import Group
from dnatune.report.figures.style import COLOURS, DASHES, FONT, GRID, INK, MUTED, SHAPES

WIDTH = 430
_LEGEND = alt.Legend()
_Item = TypeVar("_Item")

#: Optimizer → (colour, shape, dash), the same in every figure.
Palette = Mapping[str, tuple[str, str, Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A chart and the data behind it.

    Attributes:
        chart: Altair's.
        data: what it shows, a row a mark.
    """

    chart: alt.LayerChart
    data: pd.DataFrame


def palette(groups: Iterable[Group]) -> Palette:
    """Return the looks of each optimizer, in the order in which each first appears."""
    return looks_for(group.optimizer for group in groups)


def looks_for(names: Iterable[str]) -> Palette:
    """Return a look for each name, in the order in which each first appears."""
    names = dict.fromkeys(names)
    return dict(zip(names, itertools.cycle(zip(COLOURS, SHAPES, DASHES, strict=True)), strict=False))


def panels(items: Iterable[_Item], place: Callable[[_Item], tuple[str, str]]) -> dict[tuple[str, str], list[_Item]]:
    """Return {(model, task): its items}, in the order in which each first appears; `place` returns an item's."""
    found: dict[tuple[str, str], list[_Item]] = {}
    for item in items:
        found.setdefault(place(item), []).append(item)
    return found


def place_of(group: Group) -> tuple[str, str]:
    """Return (model, task) of a group."""
    return group.model, group.task


def embedded(chart: alt.LayerChart, name: str) -> str:
    """Return a chart as SVG to stand inside HTML: no namespaces, no size, and its own names begin with `name`."""
    # The reader's font may be wider than the one the labels are measured in: the left side has room for that.
    fitted = chart.properties(
        width=WIDTH,
        padding={"left": 20, "top": 5, "right": 8, "bottom": 5},
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
    )
    text = re.sub(r' (xmlns(:xlink)?|version|class|role|aria-[a-z]+)="[^"]*"', "", svg(fitted))
    text = re.sub(r'^<svg width="[^"]*" height="[^"]*"', '<svg aria-hidden="true"', text)
    # vl-convert counts clipping paths per figure, or per process: either way two figures of a page would clash.
    clips = dict.fromkeys(re.findall(r'<clipPath id="([^"]+)"', text))
    numbers = {clip: f"{name}-{number}" for number, clip in enumerate(clips)}
    text = re.sub(r'<clipPath id="([^"]+)"', lambda match: f'<clipPath id="{numbers[match[1]]}"', text)
    return re.sub(r'"url\(#([^)]+)\)"', lambda match: f'"url(#{numbers[match[1]]})"', text)


def image(panels: Sequence[tuple[str, alt.LayerChart]]) -> str:
    """Return a figure of its own as SVG: panels of a title and a chart, two per row; words if there are none."""
    charts = [chart.properties(title=title, width=WIDTH) for title, chart in panels]
    if not charts:
        empty = marks([{"text": "There is nothing to draw."}])
        charts = [empty.mark_text().encode(text="text:N").properties(width=WIDTH)]
    return svg(alt.concat(*charts, columns=2), "white")


def svg(chart: Any, background: str = "transparent") -> str:
    """Return a chart as SVG in the looks of all figures."""
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12.5, "titleFontSize": 12.5}
    chart = chart.configure(
        aria=False,
        background=background,
        font=FONT,
        view=alt.ViewConfig(stroke=None),
        # The reader's font may be wider than the one that is measured here: a title keeps away from the numbers.
        axisY=alt.AxisConfig(titlePadding=14),
        axis=alt.AxisConfig(
            **text, titleFontWeight="normal", gridColor=GRID, domainColor=MUTED, tickColor=MUTED, labelLimit=180
        ),
        legend=alt.LegendConfig(**text, labelLimit=130, orient="top", direction="horizontal", columns=3, title=None),
        title=alt.TitleConfig(color=INK, fontSize=13, fontWeight="bold", anchor="start"),
    )
    return vl_convert.vegalite_to_svg(chart.to_dict())


def marks(rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> alt.Chart:
    """Return a chart of rows that stand in it, not beside it."""
    return alt.Chart(alt.InlineData(rows.to_dict("records") if isinstance(rows, pd.DataFrame) else list(rows)))


def time_unit(longest: float) -> tuple[str, int]:
    """Return the unit that suits times up to `longest` seconds, and how many seconds it has."""
    units = ((("s", 1), 180), (("min", 60), 10_800), (("h", 3600), math.inf))
    return next(unit for unit, most in units if longest < most)


def names_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the optimizers of some rows, in the order in which each first appears."""
    return list(dict.fromkeys(row["optimizer"] for row in rows))


def looks_of(names: list[str], looks: Palette, *parts: str, legend: alt.Legend | None = _LEGEND) -> dict[str, Any]:
    """Return the channels `color`, `shape` and `strokeDash`, those asked for, of each optimizer."""
    places = {"color": (alt.Color, 0), "shape": (alt.Shape, 1), "strokeDash": (alt.StrokeDash, 2)}
    return {
        part: channel(
            "optimizer:N", scale=alt.Scale(domain=names, range=[looks[name][place] for name in names]), legend=legend
        )
        for part, (channel, place) in places.items()
        if part in parts
    }


def line_legend(**options: int) -> alt.Legend:
    """Return a legend whose symbols are long enough to show a line's dashes."""
    return alt.Legend(symbolOpacity=1, symbolStrokeWidth=2.2, symbolSize=500, **options)


def marked_lines(
    rows: Sequence[Mapping[str, Any]],
    encoding: Mapping[str, Any],
    shape: Mapping[str, Any],
    size: int = 45,
    **line: Any,
) -> list[alt.Chart]:
    """Return a line per optimizer, and its shape at every row; `line` holds further properties of the line."""
    return [
        marks(rows).mark_line(strokeWidth=1.6, **line).encode(**encoding),
        marks(rows).mark_point(filled=True, size=size, opacity=1).encode(**encoding, **shape),
    ]


def diagonal(x: alt.X, y: alt.Y, low: float = 0) -> alt.Chart:
    """Return a dashed line from (low, low) to (1, 1), in the fields of two axes."""
    fields = [axis.shorthand.removesuffix(":Q") for axis in (x, y)]
    line = marks([dict.fromkeys(fields, end) for end in (low, 1)])
    return line.mark_line(color=MUTED, strokeDash=[3, 3], strokeWidth=1).encode(x=x, y=y)
