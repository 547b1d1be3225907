"""Shell scripts that stand in the place of Slurm's programs."""

import os


def program(tmp_path, monkeypatch, name, body):
    """Put a shell script in the place of one of Slurm's programs."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
