"""Say what will work on this machine or cluster, what will not and what to do, and write a first site file.

Run it on a cluster's log-in node. It asks Slurm and this machine; it submits no job. A line a check: `ok`, `note` (it
works, and there is something to know) or `PROBLEM` (something will not work). Exit status: 0 without a PROBLEM, else 1.

By hand:  python -m dnatune doctor --partition gpu
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# The library cannot even be imported by an older Python, the usual one of a log-in node.
if sys.version_info < (3, 11):  # noqa: UP036
    print("PROBLEM  Python: {}.{} is too old".format(*sys.version_info))
    print("         to do: take 3.11 or newer: make doctor PYTHON=/path/to/python3.11")
    sys.exit(1)

from dnatune.doctor import examine  # noqa: E402
from dnatune.doctor.command import ask  # noqa: E402
from dnatune.doctor.findings import Level  # noqa: E402
from dnatune.doctor.site_draft import write_site  # noqa: E402


def main() -> None:
    """Parse the command line, examine, print, and write the site file."""
    parser = argparse.ArgumentParser(
        prog="python -m dnatune doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--partition", help="partition that jobs will use (default: one with GPUs)")
    parser.add_argument("--account", help="account that is charged (default: your default account)")
    parser.add_argument(
        "--write",
        type=Path,
        default=ROOT / "profiles" / "sites" / "local",
        metavar="FOLDER",
        help="where to write site.yaml (default: profiles/sites/local, which is used without being named)",
    )
    parser.add_argument("--force", action="store_true", help="replace a site.yaml that is there")
    options = parser.parse_args()
    findings, content = examine(ROOT, ask, options.partition, options.account)
    findings.append(write_site(content, options.write / "site.yaml", ROOT, options.force))
    for finding in findings:
        print(finding, flush=True)
    if any(finding.level is Level.PROBLEM for finding in findings):
        sys.exit(1)
