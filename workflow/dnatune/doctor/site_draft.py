"""Drafts a site file from the findings."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dnatune.doctor.findings import Finding, Level
from dnatune.doctor.slurm_output import Node, Partition, members
from dnatune.errors import DnatuneError
from dnatune.files import publish_file
from dnatune.settings.site import BEFORE_SIGNAL

#: Longest job in the site file, in minutes, if the partition allows it: the default of `runtime`.
_RUNTIME = 12 * 60
#: Default of slurm.signal_seconds.
_SIGNAL = 300
#: Minimum memory of a job that loads a model, in MB: merging holds 8e9 parameters in fp32, which take 32,000 MB.
_ENOUGH_FOR_A_MODEL = 48_000


#: Comment above the keys that doctor cannot find out.
UNKNOWN_KEYS = "  # doctor cannot find out these keys; remove the # if you need one."


def runtime_text(minutes: int) -> str:
    """Return a time in the format of the site file, such as `12h` or `90m`."""
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


def slurm_site(partition: Partition, nodes: Sequence[Node], account: str | None, interface: str | None) -> str:
    """Return the text of a site file for a cluster; if nodes differ, the smallest one with a GPU counts.

    Args:
        partition: the partition for all jobs.
        nodes: the nodes of the cluster.
        account: the account to charge.
        interface: a network interface of this machine for the traffic between ranks.
    """
    own = members(partition, nodes)
    own = [node for node in own if node.gpus] or own
    gpus = min(sum(node.gpus.values()) for node in own)
    cpus = min([node.cpus for node in own] + [partition.cpus or sys.maxsize])
    memory = min([node.mem_mb for node in own] + [partition.mem_mb or sys.maxsize])
    ranks = gpus or min(2, cpus)
    minutes = _RUNTIME if partition.minutes is None else min(_RUNTIME, partition.minutes)
    kinds = {kind for node in own for kind in node.gpus}
    only = kinds.pop() if len(kinds) == 1 else ""
    lines = [
        f"# Written by `make doctor` for the partition {partition.name} of a Slurm cluster. Correct it if something is",
        "# wrong. All keys are listed in config/README.md.",
        "nodes: 1",
        f"ranks_per_node: {ranks}",
        f"gpus_per_node: {gpus}",
        f"cpus_per_rank: {max(1, cpus // ranks)}",
        "# All the memory that a job may have on the smallest node, so that a finetune job has the node to itself.",
        f"mem_mb: {memory}",
        f"runtime: {runtime_text(minutes)}",
        "slurm:",
        f"  account: {_word(account)}" if account else "  # account: my_project",
        f"  partition: {_word(partition.name)}",
        f"  gpu_request: {'gres' if gpus else 'none'}",
    ]
    if gpus:
        lines.append(f"  gpu_type: {_word(only)}" if only else "  # gpu_type: a100")
    if 60 * minutes < BEFORE_SIGNAL + _SIGNAL:
        lines.append("  # Jobs are short here. A checkpoint must be written within this time.")
        # 10 is the minimum that the site schema allows.
        lines.append(f"  signal_seconds: {max(10, 60 * minutes - BEFORE_SIGNAL)}")
    lines += [
        UNKNOWN_KEYS,
        "  # qos: normal",
        "  # every_job_needs_gpu: true",
        "  # modules: [cuda]",
        f"  # network_interface: {interface or 'ib0'}",
        "  # scratch: /tmp",
    ]
    shared = min(memory, max(memory // gpus, _ENOUGH_FOR_A_MODEL)) if gpus else memory
    if shared < memory:
        lines += ["# Jobs with one GPU can share a node.", "rules:"]
        lines += [f"  {rule}: {{mem_mb: {shared}}}" for rule in ("evaluate", "predict", "benchmark")]
    return "\n".join(lines) + "\n"


def machine_site(gpus: int, mem_mb: int) -> str:
    """Return the text of a site file for this machine alone.

    Args:
        gpus: number of GPUs of the machine.
        mem_mb: memory of the machine in MB.
    """
    lines = [
        "# Written by `make doctor` for one machine without Slurm. All keys are listed in config/README.md.",
        "ranks_per_node: auto",
        f"gpus_per_node: {gpus}",
        "cpus_per_rank: auto",
        f"mem_mb: {mem_mb}",
        f"runtime: {runtime_text(_RUNTIME)}",
    ]
    return "\n".join(lines) + "\n"


def _word(name: str) -> str:
    """Return a name as YAML text, in quotes if YAML would read it as a number or a truth value."""
    return f'"{name}"' if re.fullmatch(r"[\d.eE+-]+|(?i:y|n|yes|no|on|off|true|false|null)", name) else name


def write_site(content: str | None, path: Path, root: Path, force: bool) -> Finding:
    """Check a site file as the workflow would read it, and write it; return the result as a finding.

    Args:
        content: text of the file; None if there is nothing to write.
        path: the file.
        root: folder that holds `profiles`.
        force: whether to replace an existing file.
    """
    subject = "site file"
    if content is None:
        return Finding(Level.NOTE, subject, "not written", "solve each PROBLEM above, and run this again")
    try:
        # Imported here, because packages may be missing from the environment.
        from dnatune.settings import site

        if path.exists() and not force:
            site.load(root, _chosen(path))
            return Finding(Level.NOTE, subject, f"{path} exists and was kept", "to replace it, add --force")
        with publish_file(path) as scratch:
            scratch.write_text(content, "utf-8")
            site.load(root, _chosen(scratch))
    except ImportError as error:
        return Finding(Level.PROBLEM, subject, f"not written ({error})", "repair the environment: make setup")
    except DnatuneError as error:
        what = f"{error.where or path}: {error.what}"
        return Finding(Level.PROBLEM, subject, what, error.fix or "correct it, or replace it with --force")
    except OSError as error:
        return Finding(Level.PROBLEM, subject, f"{path}: {error.strerror}", "name another folder with --write")
    local = path.resolve().parent == root.resolve() / "profiles" / "sites" / "local"
    use = (
        "it is used from now on"
        if local
        else f"to use it: export DNATUNE_SITE={shlex.quote(str(path.resolve().parent))}"
    )
    return Finding(Level.OK, subject, f"{path} was written; {use}")


def _chosen(path: Path) -> dict[str, str]:
    """Return the environment variables that choose a site; without GPUs, because a driver may hang."""
    return {"DNATUNE_SITE": str(path.resolve()), "CUDA_VISIBLE_DEVICES": ""}
