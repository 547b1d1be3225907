"""Show how far an experiment is: runs and trials with step, loss and time left, what waits for what, what failed.

It reads the files of the experiment and changes nothing, so that it can run beside Snakemake, on any machine that sees
the folder.

By hand:  python -m dnatune status results/demo --watch
"""

import argparse
import contextlib
import time
from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.errors import ConfigurationError
from dnatune.settings import experiment

_EXPERIMENT = "experiment.json"


def main() -> None:
    """Parse the command line and show the state, once or until Ctrl-C."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="results/<name>; default: the one here that was started last"
    )
    parser.add_argument("--every", action="store_true", help="list every run, not only the counts")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--watch", type=_seconds, nargs="?", const=5.0, metavar="S", help="again every S seconds (5)")
    form.add_argument("--line", action="store_true", help="one line, for watch(1) or a prompt")
    form.add_argument("--json", action="store_true", help="everything, as JSON")
    options = parser.parse_args()
    folder = options.folder or latest(Path("results"))
    if not (folder / _EXPERIMENT).is_file():
        raise ConfigurationError(
            "no experiment was started there",
            where=str(folder),
            fix="name its folder, results/<name>; the workflow makes it when it starts",
        )
    show(folder.absolute(), options)


def show(folder: Path, options: argparse.Namespace) -> None:
    """Print the state in the form that the options ask for."""
    from dnatune.progress import display
    from dnatune.progress.runs import ExperimentProgress, as_json, progress_of

    def now() -> ExperimentProgress:
        return progress_of(experiment.read(folder / _EXPERIMENT), folder.parents[1])

    if options.json:
        print(as_json(now()))
        return
    if options.line:
        print(display.line(now()))
        return

    from rich.console import Console
    from rich.live import Live

    if options.watch is None:
        Console().print(display.tables(now(), options.every))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            live.update(display.tables(now(), options.every), refresh=True)
            time.sleep(options.watch)


def latest(results: Path) -> Path:
    """Return the folder of the experiment that was started last.

    Raises:
        ConfigurationError: there is none.
    """
    started = sorted(results.glob(f"*/{_EXPERIMENT}"), key=lambda path: path.stat().st_mtime)
    if not started:
        raise ConfigurationError(
            "no experiment was started here",
            where=str(results.absolute()),
            fix="go to the folder in which snakemake was started, or name results/<name>",
        )
    return started[-1].parent


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds
