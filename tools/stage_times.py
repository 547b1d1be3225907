#!/usr/bin/env python
"""Print the time that each stage of a workflow took, from the files of the rules' `benchmark:` directives.

By hand:  PYTHONPATH=workflow python tools/stage_times.py logs/demo/benchmarks
"""

import argparse
from pathlib import Path

from dnatune.errors import DataError, run_script


def main() -> None:
    """Parse the command line and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="logs/<name>/benchmarks")
    folder = parser.parse_args().folder

    import pandas as pd

    files = sorted(folder.rglob("*.tsv"))
    if not files:
        raise DataError(
            "the folder has no timings", where=str(folder), fix="give logs/<name>/benchmarks of a finished run"
        )
    stages: dict[str, list[float]] = {}
    for file in files:
        stage = file.relative_to(folder).with_suffix("").parts[0]
        stages.setdefault(stage, []).append(float(pd.read_csv(file, sep="\t")["s"].mean()))
    print("| stage | jobs | seconds, all | longest |\n|---|---|---|---|")
    for stage, seconds in sorted(stages.items(), key=lambda item: -sum(item[1])):
        print(f"| {stage} | {len(seconds)} | {sum(seconds):.1f} | {max(seconds):.1f} |")


if __name__ == "__main__":
    run_script(main)
