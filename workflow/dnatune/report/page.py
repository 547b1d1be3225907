"""The page: its sections in their order, each from a function and a template of its own."""

import base64
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import jinja2
from markupsafe import Markup

from dnatune.comparison.results import Group
from dnatune.report import formatting, panels
from dnatune.report.evidence import Evidence
from dnatune.report.figures.style import dark_rules
from dnatune.report.sections import (
    all_tasks,
    answer,
    audit,
    calibration,
    confusion,
    contamination,
    cost,
    differences,
    how_it_was_made,
    leaderboard,
    learning_rates,
    plan,
    seeds,
    segments,
    training,
)

_AXES = ("optimizer", "task", "model")
_TEMPLATES = Path(__file__).parent / "templates"


#: The sections in their order, by their title in the navigation. A module's `content` returns the variables of the
#: template of the module's name, or None if there is nothing to say and the section is left out.
SECTIONS = {
    "Answer": answer,
    "Leaderboard": leaderboard,
    "Differences": differences,
    "All tasks": all_tasks,
    "Seeds": seeds,
    "Training": training,
    "Calibration": calibration,
    "Confusion": confusion,
    "Segments": segments,
    "Cost": cost,
    "Audit": audit,
    "Contamination": contamination,
    "Learning rates": learning_rates,
    "Plan": plan,
    "How it was made": how_it_was_made,
}


def name_of(section: ModuleType) -> str:
    """Return the name of a section's module, which its template and its anchor have too."""
    return section.__name__.rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class Page:
    """The page, and its figures as files.

    Attributes:
        html: report.html.
        figures: the SVG of each figure, by name.
    """

    html: str
    figures: Mapping[str, str]


def page(evidence: Evidence) -> Page:
    """Return the page and its figures."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({function.__name__: function for function in formatting.FILTERS})
    common = {"several_models": evidence.several_models, "simulated": evidence.settings.simulated}
    contents = [(title, section, section.content(evidence)) for title, section in SECTIONS.items()]
    sections = []
    for title, section, content in contents:
        if content is not None:
            name = name_of(section)
            # Each is rendered by the same environment, which escapes what comes from outside.
            html = Markup(environment.get_template(f"{name}.html.j2").render(common | content))  # noqa: S704
            sections.append({"name": name, "title": title, "html": html})
    script = (_TEMPLATES / "page.js").read_text("utf-8")
    html = environment.get_template("page.html.j2").render(
        name=evidence.settings.name,
        overview=_overview(evidence.groups),
        style=Markup(_style()),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sections=sections,
    )
    shown = [value for _, _, content in contents for value in (content or {}).values()]
    return Page(html, {value.name: value.svg for value in shown if isinstance(value, panels.Figure)})


def _style() -> str:
    """Return the style sheet, with the dark twin of every colour of the figures."""
    dark = f"@media screen and (prefers-color-scheme: dark) {{\n{dark_rules()}\n}}\n"
    return (_TEMPLATES / "page.css").read_text("utf-8") + dark


def _overview(groups: Sequence[Group]) -> str:
    """Return what was compared; the cost of a run is named where all have the same."""
    runs = [run for group in groups for run in group.runs]
    parts = [formatting.some(list(dict.fromkeys(getattr(group, axis) for group in groups)), axis) for axis in _AXES]
    parts.append(formatting.some(sorted({run.seed for run in runs}), "seed"))
    budgets = {run.record.gradient_evaluations for run in runs if not run.diverged}
    batches = {run.record.global_batch_size for run in runs}
    cost = ""
    if len(budgets) == len(batches) == 1:
        cost = f" Each {'completed ' if any(run.diverged for run in runs) else ''}run took"
        cost += (
            f" {formatting.count(budgets.pop())} gradient evaluations"
            f" over batches of {formatting.count(batches.pop())} examples."
        )
    return f"{formatting.plural(len(runs), 'run')}: {', '.join(parts)}.{cost}"
