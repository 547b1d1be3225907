"""Checks of a cluster: what Slurm does with jobs, and where and for whom they run."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from dnatune.doctor.command import MISSING, Answer
from dnatune.doctor.findings import Finding, Level, counted, span
from dnatune.doctor.site_draft import runtime_text
from dnatune.doctor.slurm_output import Node, Partition, members, seconds_of

#: The Slurm plugin doubts `squeue` where MinJobAge is below three of the profile's first intervals of 15 s.
_SQUEUE_DOUBTED = 45
#: It looks every 180 s at the least often (its `max_sleep_time`), and a query takes its time. A job that the
#: controller has forgotten between two looks counts as running for ever.
_SQUEUE_RELIABLE = 240
#: Words of AccountingStorageEnforce that make Slurm refuse a job without a known account (slurm.conf(5)).
_ENFORCING = {"associations", "limits", "qos", "safe", "all", "wckeys"}


def version_finding(answer: Answer) -> Finding:
    """Judge `sinfo --version`."""
    found = re.search(r"\d+\.\d+(\.\d+)?", answer.output)
    if answer.status or found is None:
        return Finding(Level.NOTE, "Slurm", f"its version is not known ({answer.reason})")
    return Finding(Level.OK, "Slurm", found[0])


def configuration_finding(path: str | None) -> Finding:
    """Judge where Slurm's programs find their configuration.

    Args:
        path: of the environment variable SLURM_CONF; None: it is not set.
    """
    if path is None:
        return Finding(Level.OK, "configuration", "in its usual place")
    return Finding(
        Level.NOTE,
        "configuration",
        f"found by SLURM_CONF={path}, which the Slurm plugin takes away from jobs",
        "make sure that Slurm's programs find it without on compute nodes, as a rule in /etc/slurm",
    )


def has_accounting(settings: Mapping[str, str]) -> bool:
    """Tell whether the cluster keeps accounts. Old versions write accounting_storage/none, new ones (null)."""
    return settings.get("AccountingStorageType", "").rpartition("/")[2] not in ("", "none")


def accounting_finding(settings: Mapping[str, str], sacct: Answer, sacctmgr: Answer) -> Finding:
    """Judge accounting.

    Args:
        settings: of `scontrol show config`.
        sacct: what a query of jobs gave.
        sacctmgr: what a query of accounts gave.
    """
    missing = [name for name, answer in {"sacct": sacct, "sacctmgr": sacctmgr}.items() if answer.status == MISSING]
    if missing:
        return Finding(
            Level.PROBLEM,
            "accounting",
            f"{' and '.join(missing)} cannot be run, and the Slurm plugin ends with a traceback without",
            "put all of Slurm's client programs on PATH, as a rule by the package slurm-client",
        )
    if not has_accounting(settings):
        return Finding(Level.NOTE, "accounting", "off; jobs are followed with squeue, and nothing is known of old ones")
    if sacct.status:
        return Finding(
            Level.NOTE,
            "accounting",
            f"on, and its database does not answer ({sacct.reason}); jobs are followed with squeue",
            "tell the cluster's administrators",
        )
    return Finding(Level.OK, "accounting", "on, and sacct answers")


def memory_of_jobs_finding(settings: Mapping[str, str], sacct: Answer) -> Finding:
    """Judge whether a job's end is noticed: MinJobAge is how long the controller remembers it.

    Args:
        settings: of `scontrol show config`.
        sacct: what a query of jobs gave.
    """
    age, works = seconds_of(settings.get("MinJobAge", "")), has_accounting(settings) and sacct.status == 0
    said = "MinJobAge is not known" if age is None else f"MinJobAge is {age} s"
    if age is not None and age >= _SQUEUE_RELIABLE:
        return Finding(Level.OK, "job status", f"{said}: squeue sees every job's end")
    if works and (age is None or age < _SQUEUE_DOUBTED):
        return Finding(Level.NOTE, "job status", f"{said}, too short for squeue; the Slurm plugin asks sacct by itself")
    advice = f"have the administrators set MinJobAge={_SQUEUE_RELIABLE} or more in slurm.conf; 300 is Slurm's default"
    forgets = f"{said}, less than {_SQUEUE_RELIABLE} s: a job that ends between two looks of squeue is waited for ever"
    if works:
        return Finding(
            Level.PROBLEM,
            "job status",
            forgets,
            f"add --slurm-status-command sacct to `snakemake --profile slurm`, or {advice}",
        )
    if age is None or age < _SQUEUE_DOUBTED:
        forgets = f"{said}, too short for squeue, and sacct, which is asked instead, does not answer"
    return Finding(Level.PROBLEM, "job status", forgets, advice)


def sharing_finding(settings: Mapping[str, str]) -> Finding:
    """Judge SelectType: whether jobs share nodes."""
    plugin = settings.get("SelectType", "")
    if plugin in ("select/cons_tres", "select/cons_res"):
        return Finding(Level.OK, "sharing of nodes", f"{plugin}: a job gets the cores, memory and GPUs it asks for")
    return Finding(
        Level.NOTE,
        "sharing of nodes",
        f"{plugin or 'SelectType is not known'}: a job gets whole nodes, however little it asks for",
        "expect one evaluation a node at a time; select/cons_tres would let jobs share",
    )


def requeue_finding(settings: Mapping[str, str]) -> Finding:
    """Judge JobRequeue: what happens to a job whose node is lost."""
    said = "on" if settings.get("JobRequeue") == "1" else "off by default, and each job asks for it with --requeue"
    return Finding(Level.OK, "requeue", said)


def preemption_finding(
    settings: Mapping[str, str],
    partitions: Sequence[Partition],
    nodes: Sequence[Node],
    chosen: Partition | None,
    qos: Answer,
) -> Finding:
    """Judge what preemption does to a job. To the Slurm plugin one that it cancels is for ever still to be resumed.

    Args:
        settings: of `scontrol show config`.
        partitions, nodes: those of the cluster.
        chosen: the partition that jobs will use.
        qos: name, those it preempts and PreemptMode of each QOS, one a line.
    """
    subject, kind = "preemption", settings.get("PreemptType", "").rpartition("/")[2]
    general = settings.get("PreemptMode", "")
    if kind in ("", "none"):
        return Finding(Level.OK, subject, "off")
    if kind == "qos" and qos.status == 0:
        return _qos_finding(general, qos.output)
    if kind == "partition_prio" and chosen is not None:
        preempted = [one for one in partitions if _can_be_preempted(one, partitions, nodes)]
        if chosen not in preempted:
            return Finding(Level.OK, subject, f"on, and jobs of partition '{chosen.name}' are not preempted")
        if not _cancels(chosen.preemption or general):
            return Finding(Level.OK, subject, f"{chosen.preemption or general} in partition '{chosen.name}'")
        spared = [one.name for one in partitions if one not in preempted or not _cancels(one.preemption or general)]
        return _cancelled(f"jobs of partition '{chosen.name}'", f"--partition: {', '.join(spared)}" if spared else None)
    if _cancels(general):
        return _cancelled("jobs that others preempt", None)
    return Finding(Level.OK, subject, general)


def _qos_finding(general: str, lines: str) -> Finding:
    """Judge preemption by QOS, of which each has a mode of its own, or that of the cluster."""
    rows = [line.split("|") for line in lines.splitlines() if line.count("|") == 2]
    preempted = {name for _, names, _ in rows for name in names.split(",")}
    cancelled = [
        name
        for name, _, mode in rows
        if name in preempted and _cancels(general if mode.lower() in ("", "cluster") else mode)
    ]
    spared = [name for name, _, _ in rows if name not in cancelled]
    if not cancelled:
        return Finding(Level.OK, "preemption", "by QOS, and none has its jobs cancelled")
    finding = _cancelled(f"jobs of QOS {', '.join(cancelled)}", f"slurm.qos in the site: {', '.join(spared)}")
    # Which of them a job without `slurm.qos` has is the account's affair.
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
        f"{whose} are cancelled (PreemptMode=CANCEL), and Snakemake waits for a cancelled one for ever",
        (f"give {others}" if others else "ask the administrators for a partition or QOS with PreemptMode=REQUEUE")
        + "; where it has happened, end Snakemake and type the command again: the run goes on from its checkpoint",
    )


def gpus_finding(settings: Mapping[str, str], nodes: Sequence[Node]) -> Finding:
    """Judge whether Slurm hands out GPUs."""
    kinds = sorted({kind for node in nodes for kind in node.gpus})
    if kinds:
        having = f"{sum(bool(node.gpus) for node in nodes)} of {counted(len(nodes), 'node')}"
        named = ", ".join(kind or "no type" for kind in kinds)
        return Finding(Level.OK, "GPUs", f"on {having} ({named}), asked for with --gres=gpu")
    declared = "gpu" in settings.get("GresTypes", "").split(",")
    return Finding(
        Level.PROBLEM,
        "GPUs",
        f"Slurm hands out none (GresTypes {'names gpu, and no node has one' if declared else 'does not name gpu'})",
        "where nodes have GPUs, have the administrators set GresTypes=gpu, Gres=gpu:… of the nodes, and gres.conf; "
        "without, everything runs on CPUs, which is for small models only",
    )


def partition_finding(partition: Partition, nodes: Sequence[Node]) -> Finding:
    """Describe a partition.

    Args:
        partition: it.
        nodes: those of the cluster.
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
        return Finding(Level.NOTE, subject, f"takes no jobs now; {', '.join(words)}; {limit}")
    return Finding(Level.OK if usable else Level.NOTE, subject, f"{', '.join(words)}; {limit}")


def choose_partition(
    partitions: Sequence[Partition], nodes: Sequence[Node], account: str | None, asked: str | None
) -> tuple[Partition | None, Finding]:
    """Return the partition that jobs will use: the one asked for, else a default, or a first, one with GPUs.

    Args:
        partitions: those that there are.
        nodes: those of the cluster.
        account: whose use of the partition counts.
        asked: name.
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
        what = f"there is no '{asked}'" if asked is not None else "none has nodes"
        return None, Finding(Level.PROBLEM, "partition", what, f"give --partition; there are: {names}")
    if not members(chosen, nodes):
        return None, Finding(
            Level.PROBLEM, "partition", f"'{chosen.name}' has no nodes", f"give another; there are: {names}"
        )
    if not chosen.admits(account):
        return None, Finding(
            Level.PROBLEM,
            "partition",
            f"account '{account}' may not use '{chosen.name}'",
            "give another --account or --partition"
            + (f"; it is for: {', '.join(sorted(chosen.allowed))}" if chosen.allowed else ""),
        )
    gpus = [sum(node.gpus.values()) for node in members(chosen, nodes)]
    if not any(gpus) and any(node.gpus for node in nodes):
        having = [one.name for one in partitions if any(node.gpus for node in members(one, nodes))]
        what = f"'{chosen.name}' is taken, and has no GPUs"
        return chosen, Finding(Level.NOTE, "partition", what, f"for GPUs, give --partition: {', '.join(having)}")
    return chosen, Finding(Level.OK, "partition", f"'{chosen.name}' is taken")


def choose_account(
    settings: Mapping[str, str], known: Answer, default: Answer, asked: str | None
) -> tuple[str | None, Finding]:
    """Return the account that is charged: the one asked for, else the user's default, else the user's first.

    Args:
        settings: of `scontrol show config`.
        known: the accounts that the user may charge, one a line.
        default: the user's default account.
        asked: name.
    """
    if not has_accounting(settings):
        what = "none is needed" if asked is None else f"'{asked}' is not used, for accounting is off"
        return None, Finding(Level.OK if asked is None else Level.NOTE, "account", what)
    if known.status:
        taken = "jobs go to your default account" if asked is None else f"'{asked}' is taken unchecked"
        return asked, Finding(Level.NOTE, "account", f"yours cannot be listed ({known.reason}); {taken}")
    names = list(dict.fromkeys(known.output.split()))
    if asked is not None and asked.lower() not in [name.lower() for name in names]:
        fix = f"give one of: {', '.join(names)}" if names else "ask the administrators for an account"
        return None, Finding(Level.PROBLEM, "account", f"you may not charge '{asked}'", fix)
    if not names:
        if _ENFORCING & set(settings.get("AccountingStorageEnforce", "").lower().split(",")):
            fix = "ask the administrators for an account"
            return None, Finding(Level.PROBLEM, "account", "you have none, and Slurm refuses jobs without", fix)
        return None, Finding(Level.OK, "account", "you have none, and none is needed")
    usual = default.output.strip()
    chosen = asked or (usual if usual in names else names[0])
    others = [name for name in names if name.lower() != chosen.lower()]
    return chosen, Finding(
        Level.OK, "account", f"'{chosen}' is charged" + (f"; others: {', '.join(others)}" if others else "")
    )
