"""The page: its sections in their order, each from a function and a template of its own."""

import base64
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dnatune.report import formatting
from dnatune.report.evidence import Evidence
from dnatune.report.figures.style import dark_rules
from dnatune.report.sections import audits, controls, drawings, judgements, making, tables, tunings, verdicts

_TEMPLATES = Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: of its template and its anchor.
        title: in the navigation.
        content: returns the variables of its template, or None where the section has nothing to say and is left out.
    """

    name: str
    title: str
    content: Callable[[Evidence], Mapping[str, Any] | None]


SECTIONS = (
    Section("verdict", "Verdict", verdicts.verdict),
    Section("headline", "Headline", verdicts.headline),
    Section("leaderboard", "Leaderboard", tables.leaderboard),
    Section("differences", "Differences", judgements.differences),
    Section("tasks", "All tasks", judgements.tasks),
    Section("seeds", "Seeds", tables.seeds),
    Section("training", "Training", drawings.training),
    Section("calibration", "Calibration", drawings.calibration),
    Section("confusion", "Confusion", tables.confusion),
    Section("segments", "Segments", judgements.segments),
    Section("cost", "Cost", judgements.cost),
    Section("audit", "Audit", audits.audit),
    Section("contamination", "Contamination", controls.contamination),
    Section("tuning", "Learning rates", tunings.tuning),
    Section("made", "How it was made", making.made),
)


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
    environment.filters.update(
        score=formatting.score, count=formatting.count, duration=formatting.duration, percent=formatting.percent
    )
    environment.filters.update(
        rate=formatting.rate, signed=formatting.signed, p=formatting.p, between=formatting.between
    )
    environment.filters.update(
        download=formatting.download, level=formatting.level, two=formatting.two, span=formatting.span
    )
    common = {"several_models": evidence.several_models, "simulated": evidence.settings["simulated"]}
    contents = [(section, section.content(evidence)) for section in SECTIONS]
    sections = [
        {
            "name": section.name,
            "title": section.title,
            # Each was rendered by the same environment, which escapes what comes from outside.
            "html": Markup(environment.get_template(f"{section.name}.html.j2").render(common | content)),  # noqa: S704
        }
        for section, content in contents
        if content is not None
    ]
    script = (_TEMPLATES / "page.js").read_text("utf-8")
    html = environment.get_template("page.html.j2").render(
        name=evidence.settings["name"],
        overview=verdicts.overview(evidence.groups),
        style=Markup(_style()),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sections=sections,
    )
    shown = [value for _, content in contents for value in (content or {}).values()]
    return Page(html, {value.name: value.svg for value in shown if isinstance(value, drawings.Figure)})


def _style() -> str:
    """Return the style sheet, with the dark twin of every colour of the figures."""
    dark = f"@media screen and (prefers-color-scheme: dark) {{\n{dark_rules()}\n}}\n"
    return (_TEMPLATES / "page.css").read_text("utf-8") + dark
