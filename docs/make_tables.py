#!/usr/bin/env python
"""Write what the library knows into the pages: keys, flags and figures. `make docs` runs it."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from dnatune.comparison.comparability import FLAGS  # noqa: E402
from dnatune.report.legends import LEGENDS  # noqa: E402
from dnatune.settings import validation  # noqa: E402


def pages() -> dict[Path, str]:
    """Return the text of every page that holds generated parts."""
    keys, report, captions = ROOT / "config/README.md", ROOT / "docs/reading-the-report.md", ROOT / "workflow/report"
    text = keys.read_text("utf-8")
    for name in ("config", "site"):
        rows = map(validation.markdown_row, validation.schema_rows(validation.load_schema(name)))
        table = "\n".join(["| key | type | unit | default | meaning |", "|---|---|---|---|---|", *rows])
        text = between(text, f"<!-- {name} keys -->", table, "<!-- end -->")
    made = {keys: text}
    flags = [(f"`{word}`", flag.badge, flag.meaning, flag.remedy) for word, flag in FLAGS.items()]
    figures = [(legend.title, legend.shows, legend.reading) for legend in LEGENDS.values()]
    text = report.read_text("utf-8")
    text = between(text, "<!-- flags -->", table_of(("flag", "badge", "meaning", "what to do"), flags), "<!-- end -->")
    heads = ("figure", "what it shows", "how to read it")
    made[report] = between(text, "<!-- figures -->", table_of(heads, figures), "<!-- end -->")
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


def main() -> None:
    """Write the pages."""
    for page, text in pages().items():
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
