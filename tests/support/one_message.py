"""What a bad end looks like: one message, and nothing half-written."""

import re
from pathlib import Path

from workflow_runs import files_below


def assert_one_message(text: str, kind: str, *phrases: str) -> None:
    """Assert that a text holds one message of ours, of a kind, with place, remedy and the phrases."""
    assert "Traceback" not in text
    assert len(re.findall(r"\b\w+Error: ", text)) == 1, text
    message = text[text.index(f"{kind}: ") :]
    assert "\n  where: " in message
    assert "\n  to do: " in message
    for phrase in phrases:
        assert phrase in message, f"{phrase!r} is not in:\n{text}"


def visible(folder: Path) -> list[str]:
    """Return the files below a folder, half-written ones too, but for the records of Snakemake itself."""
    return [file for file in files_below(folder) if not file.endswith(".snakemake_timestamp")]
