"""Checks of a cluster: how Slurm treats jobs, and which partition and account they use."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from dnatune.doctor.command import MISSING, Output
from dnatune.doctor.findings import Finding, Level, counted, span
from dnatune.doctor.site_draft import runtime_text
from dnatune.doctor.slurm_output import Node, Partition, members, seconds_of

#: The Slurm plugin does not use `squeue` if MinJobAge is below three of the profile's first intervals of 15 s.
_SQUEUE_DOUBTED = 45
#: The plugin polls at least every 180 s (its `max_sleep_time`), and a query takes time. If the controller forgets a
#: job between two polls, the plugin considers it running for ever.
_SQUEUE_RELIABLE = 240
#: Words of AccountingStorageEnforce that make Slurm refuse a job without a known account (slurm.conf(5)).
_ENFORCING = {"associations", "limits", "qos", "safe", "all", "wckeys"}


def version_finding(output: Output) -> Finding:
    """Check the output of `sinfo --version`."""
    found = re.search(r"\d+\.\d+(\.\d+)?", output.stdout)
    if output.status or found is None:
        return Finding(Level.NOTE, "Slurm", f"its version is unknown ({output.reason})")
    return Finding(Level.OK, "Slurm", found[0])


def configuration_finding(path: str | None) -> Finding:
    """Check where Slurm's programs find their configuration.

    Args:
        path: value of the environment variable SLURM_CONF; None if it is not set.
    """
    if path is None:
        return Finding(Level.OK, "configuration", "in its default place")
    return Finding(
        Level.NOTE,
        "configuration",
        f"found by SLURM_CONF={path}, which the Slurm plugin removes from the environment of jobs",
        "check that Slurm's programs find it without SLURM_CONF on compute nodes, usually in /etc/slurm",
    )


def has_accounting(settings: Mapping[str, str]) -> bool:
    """Return whether accounting is on. If it is off, old versions print accounting_storage/none, new ones (null)."""
    return settings.get("AccountingStorageType", "").rpartition("/")[2] not in ("", "none")


def accounting_finding(settings: Mapping[str, str], sacct: Output, sacctmgr: Output) -> Finding:
    """Check accounting.

    Args:
        settings: settings from `scontrol show config`.
        sacct: output of a query of jobs.
        sacctmgr: output of a query of accounts.
    """
    missing = [name for name, output in {"sacct": sacct, "sacctmgr": sacctmgr}.items() if output.status == MISSING]
    if missing:
        return Finding(
            Level.PROBLEM,
            "accounting",
            f"{' and '.join(missing)} cannot be run, and the Slurm plugin fails with a traceback without them",
            "put all of Slurm's client programs on PATH, usually with the package slurm-client",
        )
    if not has_accounting(settings):
        return Finding(
            Level.NOTE, "accounting", "off; jobs are followed with squeue, and ended jobs are soon forgotten"
        )
    if sacct.status:
        return Finding(
            Level.NOTE,
            "accounting",
            f"on, but its database does not respond ({sacct.reason}); jobs are followed with squeue",
            "tell the cluster's administrators",
        )
    return Finding(Level.OK, "accounting", "on, and sacct works")


def memory_of_jobs_finding(settings: Mapping[str, str], sacct: Output) -> Finding:
    """Check whether the end of a job is noticed; the controller remembers an ended job for MinJobAge.

    Args:
        settings: settings from `scontrol show config`.
        sacct: output of a query of jobs.
    """
    age, works = seconds_of(settings.get("MinJobAge", "")), has_accounting(settings) and sacct.status == 0
    said = "MinJobAge is unknown" if age is None else f"MinJobAge is {age} s"
    if age is not None and age >= _SQUEUE_RELIABLE:
        return Finding(Level.OK, "job status", f"{said}: squeue sees the end of every job")
    if works and (age is None or age < _SQUEUE_DOUBTED):
        return Finding(
            Level.NOTE, "job status", f"{said}, which is too short for squeue; the Slurm plugin uses sacct instead"
        )
    advice = f"ask the administrators to set MinJobAge={_SQUEUE_RELIABLE} or more in slurm.conf; Slurm's default is 300"
    forgets = f"{said}, less than {_SQUEUE_RELIABLE} s: Snakemake waits for ever for a job that ends between two polls"
    if works:
        return Finding(
            Level.PROBLEM,
            "job status",
            forgets,
            f"add --slurm-status-command sacct to `snakemake --profile slurm`, or {advice}",
        )
    if age is None or age < _SQUEUE_DOUBTED:
        forgets = f"{said}, which is too short for squeue, and sacct, which is used instead, does not respond"
    return Finding(Level.PROBLEM, "job status", forgets, advice)


def sharing_finding(settings: Mapping[str, str]) -> Finding:
    """Check SelectType, which decides whether jobs share nodes."""
    plugin = settings.get("SelectType", "")
    if plugin in ("select/cons_tres", "select/cons_res"):
        return Finding(Level.OK, "sharing of nodes", f"{plugin}: a job gets the cores, memory and GPUs it asks for")
    return Finding(
        Level.NOTE,
        "sharing of nodes",
        f"{plugin or 'SelectType is unknown'}: a job gets whole nodes, even if it asks for less",
        "expect one evaluation per node at a time; with select/cons_tres, jobs could share nodes",
    )


def requeue_finding(settings: Mapping[str, str]) -> Finding:
    """Check JobRequeue, which decides what happens to a job whose node is lost."""
    said = "on" if settings.get("JobRequeue") == "1" else "off by default; each job asks for it with --requeue"
    return Finding(Level.OK, "requeue", said)


def preemption_finding(
    settings: Mapping[str, str],
    partitions: Sequence[Partition],
    nodes: Sequence[Node],
    chosen: Partition | None,
    qos: Output,
) -> Finding:
    """Check what preemption does to a job. If it cancels a job, the Slurm plugin waits for ever for it to be resumed.

    Args:
        settings: settings from `scontrol show config`.
        partitions, nodes: partitions and nodes of the cluster.
        chosen: the partition that jobs will use.
        qos: output with one line per QOS: its name, the QOS that it preempts, and its PreemptMode.
    """
    subject, kind = "preemption", settings.get("PreemptType", "").rpartition("/")[2]
    general = settings.get("PreemptMode", "")
    if kind in ("", "none"):
        return Finding(Level.OK, subject, "off")
    if kind == "qos" and qos.status == 0:
        return _qos_finding(general, qos.stdout)
    if kind == "partition_prio" and chosen is not None:
        preempted = [one for one in partitions if _can_be_preempted(one, partitions, nodes)]
        if chosen not in preempted:
            return Finding(Level.OK, subject, f"on, but jobs of partition '{chosen.name}' are not preempted")
        if not _cancels(chosen.preemption or general):
            return Finding(Level.OK, subject, f"{chosen.preemption or general} in partition '{chosen.name}'")
        spared = [one.name for one in partitions if one not in preempted or not _cancels(one.preemption or general)]
        return _cancelled(f"jobs of partition '{chosen.name}'", f"--partition: {', '.join(spared)}" if spared else None)
    if _cancels(general):
        return _cancelled("preempted jobs", None)
    return Finding(Level.OK, subject, general)


def _qos_finding(general: str, lines: str) -> Finding:
    """Check preemption by QOS; each QOS has its own PreemptMode or uses the cluster's."""
    rows = [line.split("|") for line in lines.splitlines() if line.count("|") == 2]
    preempted = {name for _, names, _ in rows for name in names.split(",")}
    cancelled = [
        name
        for name, _, mode in rows
        if name in preempted and _cancels(general if mode.lower() in ("", "cluster") else mode)
    ]
    spared = [name for name, _, _ in rows if name not in cancelled]
    if not cancelled:
        return Finding(Level.OK, "preemption", "by QOS; no QOS has its jobs cancelled")
    finding = _cancelled(f"jobs of QOS {', '.join(cancelled)}", f"slurm.qos in the site: {', '.join(spared)}")
    # The account decides which QOS a job without `slurm.qos` has, so this is not certainly a problem.
    return dataclasses.replace(finding, level=Level.NOTE) if spared else _cancelled("jobs of every QOS", None)


def _can_be_preempted(partition: Partition, partitions: Sequence[Partition], nodes: Sequence[Node]) -> bool:
    above = {one.name for one in partitions if one.tier > partition.tier}
    return any(above & set(node.partitions) for node in members(partition, nodes))


def _cancels(mode: str) -> bool:
    return "CANCEL" in mode.upper().split(",")


def _cancelled(whose: str, others: str | None) -> Finding:
    return Finding(
        Level.PROBLEM,
        "preemption",
        f"{whose} are cancelled (PreemptMode=CANCEL), and Snakemake waits for ever for a cancelled job",
        (f"give {others}" if others else "ask the administrators for a partition or QOS with PreemptMode=REQUEUE")
        + "; if it has happened, end Snakemake and type the command again: the run resumes from its checkpoint",
    )


def gpus_finding(settings: Mapping[str, str], nodes: Sequence[Node]) -> Finding:
    """Check whether Slurm manages GPUs."""
    kinds = sorted({kind for node in nodes for kind in node.gpus})
    if kinds:
        having = f"{sum(bool(node.gpus) for node in nodes)} of {counted(len(nodes), 'node')}"
        named = ", ".join(kind or "no type" for kind in kinds)
        return Finding(Level.OK, "GPUs", f"on {having} ({named}), requested with --gres=gpu")
    declared = "gpu" in settings.get("GresTypes", "").split(",")
    return Finding(
        Level.PROBLEM,
        "GPUs",
        f"Slurm manages none (GresTypes {'names gpu, but no node has one' if declared else 'does not name gpu'})",
        "if nodes have GPUs, ask the administrators to set GresTypes=gpu, Gres=gpu:… of the nodes, and gres.conf; "
        "otherwise everything runs on CPUs, which is only suitable for small models",
    )


def partition_finding(partition: Partition, nodes: Sequence[Node]) -> Finding:
    """Describe a partition.

    Args:
        partition: the partition.
        nodes: the nodes of the cluster.
    """
    own = members(partition, nodes)
    usable = sum(node.usable for node in own)
    words = [f"{counted(len(own), 'node')}, {usable} in service"]
    if own:
        words += [f"{span(node.cpus for node in own)} cores", f"{span(node.mem_mb for node in own)} MB"]
        kinds = sorted({kind for node in own for kind in node.gpus if kind})
        words.append(
            f"{span(sum(node.gpus.values()) for node in own)} GPUs" + (f" ({', '.join(kinds)})" if kinds else "")
        )
    limit = "no time limit" if partition.minutes is None else f"jobs of at most {runtime_text(partition.minutes)}"
    subject = f"partition {partition.name}{' (default)' if partition.default else ''}"
    if not partition.up:
        return Finding(Level.NOTE, subject, f"takes no jobs at present; {', '.join(words)}; {limit}")
    return Finding(Level.OK if usable else Level.NOTE, subject, f"{', '.join(words)}; {limit}")


def choose_partition(
    partitions: Sequence[Partition], nodes: Sequence[Node], account: str | None, asked: str | None
) -> tuple[Partition | None, Finding]:
    """Return the partition for all jobs: the one asked for, otherwise preferably one with GPUs, then the default.

    Args:
        partitions: the partitions of the cluster.
        nodes: the nodes of the cluster.
        account: the account that must be allowed to use the partition.
        asked: name of the partition that was asked for.
    """
    if asked is not None:
        chosen = next((partition for partition in partitions if partition.name == asked), None)
    else:
        chosen = max(
            (partition for partition in partitions if members(partition, nodes)),
            key=lambda one: (
                one.up and one.admits(account),
                any(node.gpus for node in members(one, nodes)),
                one.default,
            ),
            default=None,
        )
    names = ", ".join(partition.name for partition in partitions) or "none"
    if chosen is None:
        what = f"'{asked}' does not exist" if asked is not None else "no partition has nodes"
        return None, Finding(Level.PROBLEM, "partition", what, f"give --partition; the partitions are: {names}")
    if not members(chosen, nodes):
        return None, Finding(
            Level.PROBLEM, "partition", f"'{chosen.name}' has no nodes", f"give another; the partitions are: {names}"
        )
    if not chosen.admits(account):
        return None, Finding(
            Level.PROBLEM,
            "partition",
            f"account '{account}' may not use '{chosen.name}'",
            "give another --account or --partition"
            + (f"; allowed accounts: {', '.join(sorted(chosen.allowed))}" if chosen.allowed else ""),
        )
    gpus = [sum(node.gpus.values()) for node in members(chosen, nodes)]
    if not any(gpus) and any(node.gpus for node in nodes):
        having = [one.name for one in partitions if any(node.gpus for node in members(one, nodes))]
        what = f"jobs use '{chosen.name}', which has no GPUs"
        return chosen, Finding(Level.NOTE, "partition", what, f"for GPUs, give --partition: {', '.join(having)}")
    return chosen, Finding(Level.OK, "partition", f"jobs use '{chosen.name}'")


def choose_account(
    settings: Mapping[str, str], known: Output, default: Output, asked: str | None
) -> tuple[str | None, Finding]:
    """Return the account to charge: the one asked for, otherwise the user's default, otherwise the user's first.

    Args:
        settings: settings from `scontrol show config`.
        known: output with the accounts that the user may charge, one per line.
        default: output with the user's default account.
        asked: name of the account that was asked for.
    """
    if not has_accounting(settings):
        what = "none is needed" if asked is None else f"'{asked}' is not used, because accounting is off"
        return None, Finding(Level.OK if asked is None else Level.NOTE, "account", what)
    if known.status:
        taken = "jobs are charged to your default account" if asked is None else f"'{asked}' is used unchecked"
        return asked, Finding(Level.NOTE, "account", f"your accounts cannot be listed ({known.reason}); {taken}")
    names = list(dict.fromkeys(known.stdout.split()))
    if asked is not None and asked.lower() not in [name.lower() for name in names]:
        fix = f"give one of: {', '.join(names)}" if names else "ask the administrators for an account"
        return None, Finding(Level.PROBLEM, "account", f"you may not charge '{asked}'", fix)
    if not names:
        if _ENFORCING & set(settings.get("AccountingStorageEnforce", "").lower().split(",")):
            fix = "ask the administrators for an account"
            return None, Finding(
                Level.PROBLEM, "account", "you have none, and Slurm refuses jobs without an account", fix
            )
        return None, Finding(Level.OK, "account", "you have none, but none is needed")
    usual = default.stdout.strip()
    chosen = asked or (usual if usual in names else names[0])
    others = [name for name in names if name.lower() != chosen.lower()]
    return chosen, Finding(
        Level.OK, "account", f"jobs are charged to '{chosen}'" + (f"; others: {', '.join(others)}" if others else "")
    )
