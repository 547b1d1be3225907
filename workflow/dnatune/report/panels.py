"""The figures of the page: SVG, one panel for each model and task, with the data behind them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from dnatune.comparison.results import Group
from dnatune.report import formatting
from dnatune.report.evidence import Evidence
from dnatune.report.figures import base
from dnatune.report.legends import LEGENDS, Legend
from dnatune.settings.tasks import Task

#: Characters of the longest table that is not compressed: the losses of 100 runs have two millions.
_LONGEST = 200_000

Chart = Callable[[Task, list[Group]], base.Drawing | None]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the page, and of a file of its own.

    Attributes:
        name: of the file, of its data's and of the names inside the SVG.
        drawings: (title, drawing) of each panel that has something to draw; the title is empty where there is one.
        table: the data, tab-separated; empty where there is nothing to draw.
        columns: panels side by side on a wide screen.
    """

    name: str
    drawings: Sequence[tuple[str, base.Drawing]]
    table: str
    columns: int

    @functools.cached_property
    def panels(self) -> list[dict[str, Any]]:
        """Return what the page shows."""
        return [
            # The SVG is made here from data that the library escapes.
            {"title": title, "svg": Markup(base.embedded(drawing.chart, f"{self.name}-{number}"))}  # noqa: S704
            for number, (title, drawing) in enumerate(self.drawings, start=1)
        ]

    @property
    def file(self) -> str:
        """Return the name under which the data are saved."""
        return f"{self.name}.tsv.gz" if self._is_long else f"{self.name}.tsv"

    @property
    def data(self) -> str | None:
        """Return the data as a download; None where there is nothing to draw."""
        if not self.table:
            return None
        return formatting.compressed(self.table) if self._is_long else formatting.download(self.table)

    @property
    def _is_long(self) -> bool:
        return len(self.table) > _LONGEST

    @property
    def legend(self) -> Legend:
        """Return the words below the figure."""
        return LEGENDS[self.name]

    @property
    def svg(self) -> str:
        """Return the figure as an image."""
        return base.image([(title, drawing.chart) for title, drawing in self.drawings])


def figure(evidence: Evidence, name: str, charts: Mapping[str, Chart]) -> Figure:
    """Return a figure with the panels of every model and task that have something to draw.

    Args:
        evidence: what the page is made from.
        name: of the figure; it begins the names inside the SVG.
        charts: by the panel's title, each draws the groups of one model and task; None where there is nothing to draw.
    """
    drawn = [
        (_title(title, kind, evidence, charts), (members[0].model, task.name), chart(task, members))
        for title, task, members in evidence.panels()
        for kind, chart in charts.items()
    ]
    there = [(title, place, drawing) for title, place, drawing in drawn if drawing is not None]
    table = _table([(place, drawing.data) for _, place, drawing in there])
    columns = len(charts) if len(charts) > 1 else 3 if len(there) % 3 == 0 else 2
    return Figure(name, [(title, drawing) for title, _, drawing in there], table, columns)


def single(name: str, drawing: base.Drawing) -> Figure:
    """Return a figure that holds all tasks in one panel."""
    table = drawing.data.to_csv(sep="\t", index=False, float_format="%.5g", lineterminator="\n")
    return Figure(name, [("", drawing)], table, 1)


def _title(panel: str, kind: str, evidence: Evidence, charts: Mapping[str, Chart]) -> str:
    """Return what tells a panel from the others of its figure; empty where there are no others."""
    several = len(list(evidence.panels())) > 1
    return ", ".join(([panel] if several else []) + ([kind] if len(charts) > 1 else []))


def _table(tables: Sequence[tuple[tuple[str, str], pd.DataFrame]]) -> str:
    if not tables:
        return ""
    named = [table.assign(model=model, task=task) for (model, task), table in tables]
    whole = pd.concat(named, ignore_index=True)
    columns = ["model", "task", *(column for column in whole.columns if column not in ("model", "task"))]
    return whole[columns].to_csv(sep="\t", index=False, float_format="%.5g", lineterminator="\n")
