"""Snakemake with `--profile slurm` on a test cluster, as a user starts it on a log-in node."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cluster import ROOT, Cluster

sys.path.insert(0, str(ROOT / "tests" / "workflow"))

import workflow_runs

#: The test nodes have pretend GPUs, which Slurm hands out and torch does not see: ranks compute on the CPU with gloo.
SITE = {
    "ranks_per_node": 2,
    "gpus_per_node": 8,
    "cpus_per_rank": 1,
    "mem_mb": 4000,
    "runtime": "50m",
    "slurm": {"signal_seconds": 30},
}
_WATCHFUL = str(Path(__file__).with_name("watchful_snakemake.py"))


class SlurmWorkplace(workflow_runs.Workplace):
    """A folder from which the workflow is submitted to a test cluster."""

    def __init__(self, folder: Path, cluster: Cluster, **site: Any):
        super().__init__(folder)
        self.cluster = cluster
        self.site.write_text(yaml.safe_dump({**SITE, **site}), "utf-8")

    def command(self, configuration: Mapping[str, Any], *arguments: str, watchful: bool = True) -> list[str]:
        """Return the command line; the configuration is written beside it.

        Args:
            configuration: the comparison.
            arguments: what else stands on the command line.
            watchful: ask Slurm every two seconds; otherwise as the profile and the plugin will have it.
        """
        written = self.folder / "config.yaml"
        written.write_text(yaml.safe_dump(dict(configuration), sort_keys=False), "utf-8")
        return [
            *(sys.executable, *([_WATCHFUL, "--latency-wait=5"] if watchful else ["-m", "snakemake"])),
            *("--profile", "slurm", "--directory", str(self.folder)),
            *("--configfile", str(written), "--nocolor", *arguments),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the log-in node."""
        return {**self.cluster.environment, "DNATUNE_SITE": str(self.site), "DNATUNE_DEVICE": "cpu"}

    def submit(
        self, configuration: Mapping[str, Any], *arguments: str, watchful: bool = True
    ) -> workflow_runs.Finished:
        """Run to the end; arguments as of `command`."""
        done = subprocess.run(
            self.command(configuration, *arguments, watchful=watchful),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=workflow_runs.TIMEOUT_SECONDS,
            check=False,
        )
        return workflow_runs.Finished(done.returncode, done.stdout)

    def complete_on_slurm(
        self, configuration: Mapping[str, Any], *arguments: str, watchful: bool = True
    ) -> workflow_runs.Finished:
        """Run and insist on success; a failure shows the end of every log."""
        done = self.submit(configuration, *arguments, watchful=watchful)
        assert done.code == 0, "\n\n".join([done.output, *self._log_tails()])
        return done

    def said(self) -> str:
        """Return what a Snakemake that was started in the background has printed."""
        return (self.folder / "snakemake.log").read_text("utf-8")

    def start(self, configuration: Mapping[str, Any], *arguments: str, watchful: bool = True) -> subprocess.Popen:
        """Start in the background; arguments as of `command`."""
        # Tests that a shell runs in its background ignore SIGINT, and would hand that on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with (self.folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(
                self.command(configuration, *arguments, watchful=watchful),
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
