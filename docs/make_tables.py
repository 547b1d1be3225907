#!/usr/bin/env python
"""Write the tables of config/README.md from the schemas; `make docs` runs it."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from dnatune.settings import validation  # noqa: E402


def main() -> None:
    """Replace what stands between the markers of each schema."""
    page = ROOT / "config" / "README.md"
    text = page.read_text("utf-8")
    for name in ("config", "site"):
        rows = map(validation.markdown_row, validation.schema_rows(validation.load_schema(name)))
        table = "\n".join(["| key | type | unit | default | meaning |", "|---|---|---|---|---|", *rows])
        between = rf"(<!-- {name} keys -->\n).*?(\n<!-- end -->)"
        text, found = re.subn(between, lambda m, table=table: m[1] + table + m[2], text, flags=re.DOTALL)
        assert found == 1, f"no markers for {name}"  # noqa: S101
    page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
