#!/usr/bin/env python
"""Write what the library knows into the pages: keys, flags and figures. `make docs` runs it."""

import json
import re
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from dnatune.comparison.comparability import FLAGS  # noqa: E402
from dnatune.comparison.plan import Plan  # noqa: E402
from dnatune.contracts import Record, Unit  # noqa: E402
from dnatune.data.leakage import Audit  # noqa: E402
from dnatune.data.manifests import Manifest  # noqa: E402
from dnatune.evaluation.agreement import Merge  # noqa: E402
from dnatune.evaluation.contamination import Contamination  # noqa: E402
from dnatune.evaluation.metrics import Metrics  # noqa: E402
from dnatune.evaluation.scored import Scored  # noqa: E402
from dnatune.model.pretraining import PretrainingRecord  # noqa: E402
from dnatune.prediction.record import Prediction  # noqa: E402
from dnatune.report.legends import LEGENDS  # noqa: E402
from dnatune.settings import json_schema, tables  # noqa: E402
from dnatune.settings.experiment_file import Experiment  # noqa: E402
from dnatune.settings.rate_choice import Choice, TriedRate  # noqa: E402
from dnatune.settings.site_file import SiteFile  # noqa: E402
from dnatune.training.record import Run  # noqa: E402

#: The model of each JSON file.
RECORDS = {
    "manifest.json": Manifest,
    "pretraining.json": PretrainingRecord,
    "audit.json": Audit,
    "run.json": Run,
    "metrics.json": Metrics,
    "<output>.json": Prediction,
    "merge.json": Merge,
    "scored.json": Scored,
    "contamination.json": Contamination,
    "choice.json": Choice,
    "plan.json": Plan,
}
_WORDS = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "value"}


def pages() -> dict[Path, str]:
    """Return the text of every page that holds generated parts."""
    keys, report, captions = ROOT / "config/README.md", ROOT / "docs/reading-the-report.md", ROOT / "workflow/report"
    text = keys.read_text("utf-8")
    heads, made = ("key", "type", "unit", "default", "reruns", "meaning"), {}
    for name, model in (("config", Experiment), ("site", SiteFile)):
        table = table_of(heads, map(tables.markdown_cells, tables.rows(model)))
        text = between(text, f"<!-- {name} keys -->", table, "<!-- end -->")
        schema = json_schema.schema_text(model, f"dnatune {name}")
        made[ROOT / f"workflow/schemas/{name}.schema.yaml"] = schema
    made[keys] = text
    flags = [(f"`{word}`", flag.badge, flag.meaning, flag.remedy) for word, flag in FLAGS.items()]
    figures = [(legend.title, legend.shows, legend.reading) for legend in LEGENDS.values()]
    text = report.read_text("utf-8")
    text = between(text, "<!-- flags -->", table_of(("flag", "badge", "meaning", "what to do"), flags), "<!-- end -->")
    heads = ("figure", "what it shows", "how to read it")
    made[report] = between(text, "<!-- figures -->", table_of(heads, figures), "<!-- end -->")
    contracts = ROOT / "docs/contracts.md"
    text = contracts.read_text("utf-8")
    for name, rows in record_tables().items():
        table = table_of(("key", "type", "unit", "meaning"), rows)
        text = between(text, f"<!-- {name} keys -->", table, "<!-- end -->")
    made[contracts] = text
    about = {name: f"{legend.shows} {legend.reading}" for name, legend in LEGENDS.items()}
    caption = captions / "figures.rst"
    chosen = f"{{% set about = {json.dumps(about, indent=2, ensure_ascii=False)} %}}"
    made[caption] = between(caption.read_text("utf-8"), "{# figures #}", chosen, "{# end #}")
    return made


def table_of(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between(text: str, begin: str, content: str, end: str) -> str:
    """Return a text with other content between the lines `begin` and `end`."""
    pattern = rf"({re.escape(begin)}\n).*?(\n{re.escape(end)})"
    text, found = re.subn(pattern, lambda match: match[1] + content + match[2], text, flags=re.DOTALL)
    assert found == 1, f"{begin} stands {found} times"  # noqa: S101
    return text


def record_tables() -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of the table of each JSON file, and those of tuning.tsv."""
    rows = {name: record_rows(model) for name, model in RECORDS.items()}
    return rows | {"tuning.tsv": [*record_rows(Choice)[:3], *record_rows(TriedRate)]}


def record_rows(model: type[Record], prefix: str = "") -> list[tuple[str, ...]]:
    """Return a row per key: `a.b` is a key of a map, `a.*.b` of the maps in a map, `a[].b` of the maps in a list."""
    rows = []
    for name, field in model.model_fields.items():
        kind, suffix, inner = kind_of(field.annotation)
        meaning = field.description.replace("\n", " ")
        rows.append((f"`{prefix}{name}`", kind, unit_of(field.annotation, field.metadata), meaning))
        rows += record_rows(inner, f"{prefix}{name}{suffix}.") if inner else []
    return rows


def kind_of(annotation: Any) -> tuple[str, str, type[Record] | None]:
    """Return a type in words, how its inner keys are named, and the record in it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return "map", "", annotation
    if origin is typing.Annotated:
        return kind_of(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{word}`" for word in arguments), "", None
    if origin in (types.UnionType, typing.Union):
        ((kind, suffix, inner),) = (kind_of(part) for part in arguments if part is not types.NoneType)
        return f"{kind} or `null`", suffix, inner
    if origin in (list, dict):
        kind, suffix, inner = kind_of(arguments[-1])
        outer, mark = ("list", "[]") if origin is list else ("map", ".*")
        return f"{outer} of " + re.sub(r"^\w+", r"\g<0>s", kind), mark + suffix, inner
    return _WORDS[annotation], "", None


def unit_of(annotation: Any, noted: Sequence[Any] = ()) -> str:
    """Return the unit that is noted at a field or at a part of its type; empty if there is none."""
    units = [one.name for one in [*noted, *getattr(annotation, "__metadata__", ())] if isinstance(one, Unit)]
    return next(filter(None, [*units, *map(unit_of, typing.get_args(annotation))]), "")


def main() -> None:
    """Write the pages."""
    for page, text in pages().items():
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
