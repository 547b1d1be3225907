#!/usr/bin/env python
"""Write dnatune.yaml, the conda environment, from requirements.lock; `make lock` runs it."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = "3.11"


def conda_environment(lock: str) -> str:
    """Return the text of the conda file that installs exactly what the lock pins."""
    pins = [line for line in lock.splitlines() if line and not line.startswith("#")]
    lines = [
        "# Made by 'make lock' from requirements.lock.",
        "name: dnatune",
        "channels: [conda-forge]",
        "dependencies:",
        f"  - python={PYTHON}",
        "  - pip",
        "  - pip:",
        *(f"      - {pin}" for pin in pins),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = conda_environment((HERE / "requirements.lock").read_text("utf-8"))
    (HERE / "dnatune.yaml").write_text(text, "utf-8")
