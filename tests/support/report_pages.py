"""Pages of synthetic results, and what stands in them."""

import base64
import gzip
import html
import html.parser
import re
from collections.abc import Mapping, Sequence
from typing import Any

from compared_results import read, verdict_rows
from dnatune.comparison import plan, references, segments
from dnatune.comparison import results as finished
from dnatune.data import manifests
from dnatune.report import page as report
from synthetic_results import Results

VOID = {"meta", "br", "hr", "img", "link", "input"}


def evidence_of(
    results: Results,
    contaminations: Sequence[Mapping[str, Any]] = (),
    choices: Sequence[Mapping[str, Any]] = (),
    zero_shots: Sequence[references.ZeroShot] = (),
    published: Sequence[references.Published] = (),
) -> report.Evidence:
    groups, rows = read(results, choices)
    baselines = [finished.read_baseline(folder, results.tasks) for folder in results.baselines]
    audits = finished.read_audits(results.audits, results.tasks)
    scored = segments.segment_rows(
        groups, results.tasks, segments.read_segments(results.records, results.tasks, audits)
    )
    making = ({"scipy": "1.0"}, "snakemake --cores all --configfile configuration.yaml")
    tests = verdict_rows(results)
    rows += references.control_rows(zero_shots, published, results.tasks, contaminations if zero_shots else ())
    return report.Evidence(
        *(results.settings, results.tasks, groups, baselines, rows, tests, audits, scored, *making),
        *(choices, zero_shots, published, contaminations),
        manifests.read(results.models, results.data, list(results.tasks)),
        [plan.Plan.read(path) for path in results.plans()],
    )


def render(results: Results, *contaminations: Mapping[str, Any], **others: Sequence[Any]) -> str:
    return report.page(evidence_of(results, contaminations, **others)).html


def base_of(results: Results, skill: float = 0.2) -> references.ZeroShot:
    """Return a base model without fine-tuning, by what it answers to the first task."""
    results.add_baseline("zero-shot", skill)
    metrics = finished.read_baseline(results.baselines.pop(), results.tasks).metrics
    return references.ZeroShot("tiny", "prom_core_all", metrics)


def words(page: str) -> str:
    """Return the text of a page without tags, every run of white space one space."""
    text = re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]+>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


class Outline(html.parser.HTMLParser):
    """Checks that elements nest, and collects what the tests ask about."""

    def __init__(self):
        super().__init__()
        self.open, self.sections, self.ids, self.tags, self.targets = [], [], [], set(), []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        self.targets += [attributes[key] for key in ("href", "src", "xlink:href", "action") if key in attributes]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "section":
            self.sections.append(attributes["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()} closes another element"


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def downloads(page: str) -> dict[str, str]:
    """Return the text of every table that a page holds, by the name it is saved under."""
    kinds = "text/tab-separated-values;charset=utf-8|application/gzip"
    found = re.findall(rf'download="([^"]+)" href="data:(?:{kinds});base64,([^"]+)"', page)
    held = {name: base64.b64decode(payload) for name, payload in found}
    return {
        name: (gzip.decompress(content) if name.endswith(".gz") else content).decode() for name, content in held.items()
    }


def pair_sentences(page: str) -> str:
    """Return the part of the page that has a sentence for every pair."""
    return page.split('id="differences"')[1].split("</section>")[0]


def section_of(page: str, name: str) -> str:
    """Return the text of one section."""
    return words(page.split(f'id="{name}"')[1].split("</section>")[0])
