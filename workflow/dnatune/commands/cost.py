"""Say what a configuration costs before it starts: jobs, hours of training, disk space; refuse what cannot fit.

Jobs are those that are still to do, as Snakemake's dry run counts them. Hours need a rate: finished runs of the same
base model in results/, or `examples_per_second` of the site file. No job is started and no result is written.

By hand:  python -m dnatune cost --configfile config/demo.yaml
"""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dnatune.commands import count, stage_parser
from dnatune.cost import jobs
from dnatune.errors import DownloadError
from dnatune.settings import command_line, experiment, settings_file, site
from dnatune.settings.experiment import Configuration

#: Jobs that Snakemake has in the queue at once, as the profile says.
_PROFILE = Path("profiles", "slurm", "config.yaml")


def main() -> None:
    """Parse the command line and say what it costs."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--configfile", type=Path, nargs="+", default=[], help="as for snakemake; config/config.yaml")
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as for snakemake")
    parser.add_argument("--at-once", type=count, metavar="N", help="runs that train at once; else what the site has")
    options = parser.parse_args()
    passed = [["--configfile", *options.configfile]] if options.configfile else []
    passed += [["--config", *options.config]] if options.config else []
    # It runs beside the imports of PyTorch.
    with jobs.dry_run([word for words in passed for word in words]) as counted:
        configuration = configuration_of(options)
        place = site.load(jobs.root(), os.environ)
        say(configuration, place, options.at_once or at_once(configuration, place), counted)


def configuration_of(options: argparse.Namespace) -> Configuration:
    """Return the configuration that Snakemake would make of the command line.

    Raises:
        ConfigurationError: it is none.
    """
    from snakemake.cli import parse_config
    from snakemake.settings.types import ConfigSettings

    files = options.configfile or [jobs.root() / "config" / "config.yaml"]
    for path in files:
        settings_file.read(path)
    given = ConfigSettings(config=parse_config(options.config), configfiles=files)
    return experiment.resolve(command_line.read_scalars(given.overwrite_config, given.config))


def at_once(configuration: Configuration, place: site.Site) -> int:
    """Return how many runs can train at once: as many as the profile submits, or as have their cores here."""
    if place.slurm:
        return settings_file.read(jobs.root() / _PROFILE)["jobs"]
    from dnatune.provenance import usable_cores

    cores = min(place.layout(optimizer)[1] for optimizer in configuration.optimizers) * place.cpus_per_rank
    return max(1, usable_cores() // cores)


def say(configuration: Configuration, place: site.Site, most: int, counted: Callable[[], dict[str, int]]) -> None:
    """Print the cost.

    Args:
        configuration: the experiment.
        place: the site.
        most: number of runs that train at once, at the most.
        counted: returns the number of jobs of each rule.

    Raises:
        SpaceError: the disk has less room than that.
    """
    from rich.console import Console

    from dnatune.cost import disk, summary, training_time

    folder = Path.cwd()
    results = folder / "results" / configuration.name
    sizes, unknown = known_sizes(configuration, results)
    taken = disk.disk_of(configuration, place, sizes, results, most)
    taken = disk.Disk(taken.parts, [*taken.unknown, *unknown])
    training = training_time.all_training(configuration, folder, place.examples_per_second)
    counts = counted()
    console = Console(soft_wrap=True)
    console.print(summary.headline(configuration, counts), style="bold", markup=False)
    console.print(summary.tables(counts, training, taken, place, most, disk.free_bytes(results)))
    if counts:
        disk.require_space(taken, results)


def known_sizes(configuration: Configuration, results: Path) -> tuple[Mapping[str, Any], list[str]]:
    """Return the sizes for each base model, and of which models, in words, they are not known."""
    from dnatune.cost.model_sizes import sizes_of

    sizes, unknown = {}, []
    for model in configuration.experiment.models:
        try:
            sizes[model] = sizes_of(configuration, model, results)
        except DownloadError as error:
            unknown.append(f"model {model} and its runs ({error.what})")
    return sizes, unknown
