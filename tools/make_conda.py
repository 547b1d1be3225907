#!/usr/bin/env python
"""Write envs/dnatune.yaml, the conda environment, from envs/requirements.lock; `make lock` runs it."""

from pathlib import Path

ENVS = Path(__file__).resolve().parents[1] / "envs"
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
    text = conda_environment((ENVS / "requirements.lock").read_text("utf-8"))
    (ENVS / "dnatune.yaml").write_text(text, "utf-8")
