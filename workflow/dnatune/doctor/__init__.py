"""Checks what will work on a machine or cluster, and drafts its first site file.

Each check is a function of the output of programs. `examine` runs the programs and combines the checks.
"""

import getpass
import importlib.metadata
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dnatune.doctor.command import MISSING, Output, RunProgram, run_program
from dnatune.doctor.findings import Finding, Level, counted
from dnatune.doctor.machine import (
    container_finding,
    cuda_of,
    folder_finding,
    interface_finding,
    interfaces,
    python_finding,
    read,
    torch_finding,
)
from dnatune.doctor.site_draft import machine_site, slurm_site
from dnatune.doctor.slurm import (
    accounting_finding,
    choose_account,
    choose_partition,
    configuration_finding,
    gpus_finding,
    memory_of_jobs_finding,
    partition_finding,
    preemption_finding,
    requeue_finding,
    sharing_finding,
    version_finding,
)
from dnatune.doctor.slurm_output import members, nodes_of, partitions_of, settings_of

#: Error of Slurm's programs on a machine where Slurm is installed but that belongs to no cluster.
_NO_CLUSTER = "Could not establish a configuration source"
_NEEDED = ("snakemake", "snakemake-executor-plugin-slurm", "torch", "transformers", "peft", "deepspeed")


def examine(
    folder: Path, run: RunProgram = run_program, partition: str | None = None, account: str | None = None
) -> tuple[list[Finding], str | None]:
    """Return the findings, and the text of a site file, or None if a problem must be solved first.

    Args:
        folder: in which jobs will work: the checkout, or the present folder if the package is installed.
        run: runs a program.
        partition: name of the partition for all jobs; None to choose one.
        account: name of the account to charge; None to choose one.
    """
    version, driver, up = run("sinfo", "--version"), run("nvidia-smi"), interfaces()
    slurm = version.status != MISSING and _NO_CLUSTER not in version.stderr
    if slurm:
        findings, gpus, content = _examine_slurm(run, version, partition, account, up)
        findmnt = run("findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "--target", str(folder))
        of_what = run("stat", "--file-system", "--format=%T", str(folder))
        findings += [folder_finding(shlex.quote(str(folder)), findmnt, of_what)]
        findings += [interface_finding(up)]
    else:
        findings, gpus, content = _examine_alone(run, version, driver, partition or account)
    findings.append(container_finding([run(program, "--version") for program in ("apptainer", "singularity")]))
    findings.append(python_finding(sys.version_info, sys.executable, [name for name in _NEEDED if not _version(name)]))
    if torch := _version("torch"):
        source = Path(str(importlib.metadata.distribution("torch").locate_file("torch/version.py")))
        findings.append(torch_finding(torch, cuda_of(read(source)), driver, gpus, slurm))
    return findings, content


def _examine_alone(
    run: RunProgram, version: Output, driver: Output, asked: str | None
) -> tuple[list[Finding], bool, str | None]:
    """Return the findings of a machine without Slurm, whether it has GPUs, and its site file."""
    gpus = run("nvidia-smi", "-L").stdout.count("GPU ") if driver.status == 0 else 0
    here = version.status != MISSING
    why = "its programs find no cluster" if here else "its programs are not on PATH"
    fix = "set SLURM_CONF to the cluster's slurm.conf" if here else "put them on PATH, for example with a module"
    if asked is not None:
        fix += ", or omit --partition and --account"
        return [Finding(Level.PROBLEM, "Slurm", why, fix)], gpus > 0, None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000
    what = f"not used, because {why}; runs use this machine, which has {counted(gpus, 'GPU')}"
    return [Finding(Level.NOTE, "Slurm", what, f"if there is a cluster, {fix}")], gpus > 0, machine_site(gpus, memory)


def _examine_slurm(
    run: RunProgram, version: Output, asked_partition: str | None, asked_account: str | None, up: Sequence[str]
) -> tuple[list[Finding], bool, str | None]:
    """Return the findings of a cluster, whether jobs will have GPUs, and its site file."""
    findings = [version_finding(version), configuration_finding(os.environ.get("SLURM_CONF"))]
    outputs = []
    for what in (("show", "config"), ("--oneliner", "show", "node"), ("--oneliner", "show", "partition")):
        outputs.append(run("scontrol", *what))
        if outputs[-1].status:
            said = f"scontrol fails ({outputs[-1].reason})"
            fix = "if the controller is down, wait; if SLURM_CONF is wrong, correct it"
            return [*findings, Finding(Level.PROBLEM, "controller", said, fix)], False, None
    config, node_list, partition_list = (output.stdout for output in outputs)
    settings, nodes, partitions = settings_of(config), nodes_of(node_list), partitions_of(partition_list)
    sacct = run("sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID")
    user = _user()
    where = [f"user={user}", f"cluster={settings.get('ClusterName', '')}"]
    known = run("sacctmgr", "--noheader", "--parsable2", "show", "associations", *where, "format=account")
    default = run("sacctmgr", "--noheader", "--parsable2", "show", "user", user, "format=defaultaccount")
    qos = run("sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=name,preempt,preemptmode")
    account, account_finding = choose_account(settings, known, default, asked_account)
    partition, choice = choose_partition(partitions, nodes, account, asked_partition)
    findings += [
        accounting_finding(settings, sacct, known),
        memory_of_jobs_finding(settings, sacct),
        sharing_finding(settings),
        requeue_finding(settings),
        preemption_finding(settings, partitions, nodes, partition, qos),
        gpus_finding(settings, nodes),
        *(partition_finding(one, nodes) for one in partitions),
        account_finding,
        choice,
    ]
    gpus = any(node.gpus for node in (members(partition, nodes) if partition else nodes))
    if partition is None or account_finding.level is Level.PROBLEM:
        return findings, gpus, None
    fast = next((name for name in up if name.startswith("ib")), None)
    return findings, gpus, slurm_site(partition, nodes, account, fast)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container the user may have no name.
        return str(os.getuid())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
