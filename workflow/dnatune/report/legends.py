"""What each figure shows and how to read it.

The page's captions, the captions of Snakemake's own report and the table of docs/reading-the-report.md are made from
the words of legends.toml; `make docs` writes the latter two.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Legend:
    """The words of one figure.

    Attributes:
        title: of the figure, in tables.
        reading: how to read it.
        shows: what is drawn.
    """

    title: str
    reading: str
    shows: str


def _read(path: Path) -> dict[str, Legend]:
    texts = tomllib.loads(path.read_text("utf-8"))
    return {
        name: Legend(**{key: " ".join(text.split()) for key, text in found.items()}) for name, found in texts.items()
    }


#: By the figure's name, in the page's order.
LEGENDS: Mapping[str, Legend] = _read(Path(__file__).with_name("legends.toml"))
