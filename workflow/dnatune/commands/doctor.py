"""Check what will work on this machine or cluster, say what to do about problems, and write a first site file.

Run it on a cluster's log-in node. It queries Slurm and this machine and submits no job. Each check prints a line: `ok`,
`note` (it works, but there is something to know) or `PROBLEM` (something will not work). The exit status is 1 if there
is a PROBLEM, otherwise 0.

By hand:  python -m dnatune doctor --partition gpu
"""

import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]
IN_CHECKOUT = (_CHECKOUT / "workflow" / "Snakefile").is_file()
#: Where `profiles` are, the folder in which jobs work, and the folder of the site file that is written.
ROOT = _CHECKOUT if IN_CHECKOUT else Path(__file__).resolve().parents[1]
PLACE = ROOT if IN_CHECKOUT else Path.cwd()
SITE = ROOT / "profiles" / "sites" / "local" if IN_CHECKOUT else PLACE / "site"

# Log-in nodes often have an older Python, which cannot import the library.
if sys.version_info < (3, 11):  # noqa: UP036
    print("PROBLEM  Python: {}.{} is too old".format(*sys.version_info))
    print("         to do: take 3.11 or newer: make doctor PYTHON=/path/to/python3.11")
    sys.exit(1)

from dnatune.commands import stage_parser  # noqa: E402
from dnatune.doctor import examine  # noqa: E402
from dnatune.doctor.command import run_program  # noqa: E402
from dnatune.doctor.findings import Level  # noqa: E402
from dnatune.doctor.site_draft import write_site  # noqa: E402


def main() -> None:
    """Parse the command line, run the checks, print the findings, and write the site file."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--partition", help="partition for all jobs (default: one with GPUs)")
    parser.add_argument("--account", help="account to charge (default: your default account)")
    parser.add_argument(
        "--write",
        type=Path,
        default=SITE,
        metavar="FOLDER",
        help="where to write site.yaml (default: site; in a checkout profiles/sites/local, which is used by default)",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing site.yaml")
    options = parser.parse_args()
    findings, content = examine(PLACE, run_program, options.partition, options.account)
    findings.append(write_site(content, options.write / "site.yaml", ROOT, options.force))
    for finding in findings:
        print(finding, flush=True)
    if any(finding.level is Level.PROBLEM for finding in findings):
        sys.exit(1)
