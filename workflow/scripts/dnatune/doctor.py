"""What will work on a machine or cluster and what will not, from what its programs say; and its first site file.

Each check is a function of captured output. `examine` asks the programs and puts the checks together.
"""

import contextlib
import dataclasses
import enum
import getpass
import importlib.metadata
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dnatune.errors import DnatuneError
from dnatune.files import publish_file

#: How long a program may take to answer, in seconds.
PATIENCE = 20
#: Exit statuses that a shell gives for a program that is missing or ran out of time.
_MISSING, _HANGS = 127, 124
#: What a program of Slurm says on a machine where it is installed and that belongs to no cluster.
_NO_CLUSTER = "Could not establish a configuration source"
#: The Slurm plugin doubts `squeue` where MinJobAge is below three of the profile's first intervals of 15 s.
_SQUEUE_DOUBTED = 45
#: It looks every 180 s at the least often (its `max_sleep_time`), and a query takes its time. A job that the
#: controller has forgotten between two looks counts as running for ever.
_SQUEUE_RELIABLE = 240
#: Words of AccountingStorageEnforce that make Slurm refuse a job without a known account (slurm.conf(5)).
_ENFORCING = {"associations", "limits", "qos", "safe", "all", "wckeys"}
#: Words in a node's State with which it takes no job (scontrol(1)).
_UNUSABLE = ("DOWN", "DRAIN", "FAIL", "FUTURE", "INVAL", "MAINT", "NOT_RESPONDING", "POWERED_DOWN", "UNKNOWN")
_NETWORK_FILE_SYSTEMS = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "daos", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "panfs"),
    *("pvfs2", "quobyte", "smb2", "smb3", "virtiofs", "weka", "wekafs"),
}
_LOCAL_FILE_SYSTEMS = {
    *("btrfs", "ext2", "ext2/ext3", "ext3", "ext4", "f2fs", "jfs", "overlay", "overlayfs", "ramfs", "reiserfs"),
    *("tmpfs", "xfs", "zfs"),
}
#: First driver that runs each major version of CUDA (CUDA Compatibility guide, table "minimum driver version").
_FIRST_DRIVER = {"11": 450, "12": 525, "13": 580}
#: Type of an InfiniBand interface in /sys/class/net/*/type (ARPHRD_INFINIBAND of linux/if_arp.h).
_INFINIBAND = "32"
_VIRTUAL_INTERFACES = ("br-", "docker", "ifb", "lo", "tun", "veth", "virbr")
_NEEDED = ("snakemake", "snakemake-executor-plugin-slurm", "torch", "transformers", "peft", "deepspeed")
#: Longest job that the site file allows where the partition does: the default of the site schema, in minutes.
_RUNTIME = 12 * 60
#: Least memory of a job with a model in it, in MB: merging holds one of 8e9 parameters in fp32, which is 32 000.
_ENOUGH_FOR_A_MODEL = 48_000


class Level(enum.StrEnum):
    """How grave a finding is."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "PROBLEM"


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of a check.

    Attributes:
        level: `OK`; `NOTE`, it works and there is something to know; `PROBLEM`, something will not work.
        subject: what was checked.
        what: what was found.
        fix: what to do.
    """

    level: Level
    subject: str
    what: str
    fix: str | None = None

    def __str__(self) -> str:
        """Return a line, and a second one where there is something to do."""
        line = f"{self.level:<9}{self.subject}: {self.what}"
        return f"{line}\n{'':9}to do: {self.fix}" if self.fix else line


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a program said.

    Attributes:
        status: its exit status; 127: it is missing; 124: it did not answer in time.
        output: its standard output.
        complaint: its standard error, or why there is no answer.
    """

    status: int
    output: str = ""
    complaint: str = ""

    @property
    def reason(self) -> str:
        """Return the last line of the complaint, to which Slurm's programs lead up."""
        lines = self.complaint.strip().splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


#: Runs a program with its arguments and returns what it said.
Ask = Callable[..., Answer]


@dataclasses.dataclass(frozen=True)
class Node:
    """A node as Slurm describes it.

    Attributes:
        partitions: those it belongs to.
        cpus: cores that jobs may have.
        mem_mb: memory that jobs may have, in MB.
        gpus: number of GPUs by type; the type is empty where Slurm knows none.
        usable: whether it takes jobs now.
    """

    partitions: tuple[str, ...]
    cpus: int
    mem_mb: int
    gpus: Mapping[str, int]
    usable: bool


@dataclasses.dataclass(frozen=True)
class Partition:
    """A partition as Slurm describes it.

    Attributes:
        default: whether jobs that name none get it.
        up: whether it takes jobs.
        minutes: longest job; None: no limit.
        cpus, mem_mb: most that a job may have of a node; None: all of it.
        allowed, denied: accounts; `allowed` is None where all are.
    """

    name: str
    default: bool
    up: bool
    minutes: int | None
    cpus: int | None
    mem_mb: int | None
    allowed: frozenset[str] | None
    denied: frozenset[str]

    def admits(self, account: str | None) -> bool:
        """Tell whether an account may use the partition; one that is not known may."""
        if account is None:
            return True
        return account.lower() not in self.denied and (self.allowed is None or account.lower() in self.allowed)


def ask(*command: str, patience: float = PATIENCE) -> Answer:
    """Run a program and return what it said; one that is missing or hangs is an answer too.

    Args:
        command: program and arguments.
        patience: seconds.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Answer(_MISSING, "", f"{command[0]}: {error.strerror}")
    try:
        output, complaint = process.communicate(timeout=patience)
        return Answer(process.returncode, output, complaint)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # One that waits for a dead file server outlives even this; it is left behind rather than waited for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        return Answer(_HANGS, "", f"{command[0]}: no answer within {patience:g} s")


def settings_of(text: str) -> dict[str, str]:
    """Return the settings that `scontrol show config` lists, `(null)` as the empty string."""
    pairs = re.findall(r"^(\w+)(?:\[0\])?\s+= ?(.*?)\s*$", text, re.MULTILINE)
    return {key: "" if value == "(null)" else value for key, value in pairs}


def seconds_of(text: str) -> int | None:
    """Return a period of `scontrol show config`, such as `300 sec`, in seconds; None where it is none."""
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.lower())
    if found is None:
        return None
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86400}.get(found[2][:1], 1)


def minutes_of(text: str) -> int | None:
    """Return a time limit, such as `1-12:00:00`, in whole minutes; None where there is none."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+)(?::(\d+))?", text)
    if found is None:
        return None
    days, *clock = found.groups()
    # Two numbers are minutes and seconds, or hours and minutes after days (sbatch(1), --time).
    hours, minutes = (clock[0], clock[1]) if days or clock[2] else ("0", clock[0])
    return 1440 * int(days or 0) + 60 * int(hours) + int(minutes)


def gpus_of(gres: str) -> dict[str, int]:
    """Return the number of GPUs by type in a node's Gres, such as `gpu:a100:4(S:0-1),nvme:1`.

    The type is empty where Slurm knows none. What has no GPU, `(null)` too, gives an empty map.
    """
    found: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *words = (word for word in entry.strip().split(":") if word != "no_consume")
        if name != "gpu":
            continue
        count = int(words.pop()) if words and words[-1].isdecimal() else 1
        kind = words[0] if words else ""
        found[kind] = found.get(kind, 0) + count
    return {kind: count for kind, count in found.items() if count}


def nodes_of(text: str) -> list[Node]:
    """Return the nodes that `scontrol --oneliner show node` lists."""
    return [
        Node(
            tuple(filter(None, record.get("Partitions", "").split(","))),
            # What is left of CPUTot without the cores that the system keeps; Slurm before 22.05 does not say it.
            int(record.get("CPUEfctv") or record.get("CPUTot") or 1),
            int(record.get("RealMemory") or 1) - int(record.get("MemSpecLimit") or 0),
            gpus_of(record.get("Gres", "")),
            not any(word in record.get("State", "") for word in _UNUSABLE) and "*" not in record.get("State", ""),
        )
        for record in _records(text, "NodeName")
    ]


def partitions_of(text: str) -> list[Partition]:
    """Return the partitions that `scontrol --oneliner show partition` lists."""
    return [
        Partition(
            record["PartitionName"],
            record.get("Default") == "YES",
            record.get("State") == "UP",
            minutes_of(record.get("MaxTime", "")),
            _limit(record.get("MaxCPUsPerNode", "")),
            _limit(record.get("MaxMemPerNode", "")),
            None if record.get("AllowAccounts", "ALL") == "ALL" else _names(record["AllowAccounts"]),
            _names(record.get("DenyAccounts", "")),
        )
        for record in _records(text, "PartitionName")
    ]


def _records(text: str, first: str) -> list[dict[str, str]]:
    """Return each line that begins with a key as a map. Of a key that comes again, as in a Reason, the first counts."""
    lines = [line for line in text.splitlines() if line.startswith(f"{first}=")]
    return [dict(reversed(re.findall(r"(?:^|(?<=\s))(\w+)=(\S*)", line))) for line in lines]


def _limit(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) else None


def _names(text: str) -> frozenset[str]:
    return frozenset(name.lower() for name in text.split(",") if name and name != "(null)")


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
    missing = [name for name, answer in {"sacct": sacct, "sacctmgr": sacctmgr}.items() if answer.status == _MISSING]
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


def gpus_finding(settings: Mapping[str, str], nodes: Sequence[Node]) -> Finding:
    """Judge whether Slurm hands out GPUs."""
    kinds = sorted({kind for node in nodes for kind in node.gpus})
    if kinds:
        having = f"{sum(bool(node.gpus) for node in nodes)} of {_count(len(nodes), 'node')}"
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
    words = [f"{_count(len(own), 'node')}, {usable} in service"]
    if own:
        words += [f"{_span(node.cpus for node in own)} cores", f"{_span(node.mem_mb for node in own)} MB"]
        kinds = sorted({kind for node in own for kind in node.gpus if kind})
        words.append(
            f"{_span(sum(node.gpus.values()) for node in own)} GPUs" + (f" ({', '.join(kinds)})" if kinds else "")
        )
    limit = "no time limit" if partition.minutes is None else f"jobs of at most {runtime_text(partition.minutes)}"
    subject = f"partition {partition.name}{' (default)' if partition.default else ''}"
    if not partition.up:
        return Finding(Level.NOTE, subject, f"takes no jobs now; {', '.join(words)}; {limit}")
    return Finding(Level.OK if usable else Level.NOTE, subject, f"{', '.join(words)}; {limit}")


def members(partition: Partition, nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes of a partition."""
    return [node for node in nodes if partition.name in node.partitions]


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


def folder_finding(folder: str, findmnt: Answer, stat: Answer) -> Finding:
    """Judge whether compute nodes can see the checkout.

    Args:
        folder: the checkout.
        findmnt: type and source of its file system.
        stat: type of its file system, for systems without findmnt.
    """
    last = findmnt.output.strip().splitlines()[-1:] if findmnt.status == 0 else []
    kind, source = (*last[0].split(maxsplit=1), "")[:2] if last else (stat.output.strip(), "")
    # fuse.NAME says which file system it is; fuse, fuseblk and autofs alone do not.
    kind = kind.removeprefix("fuse.") or "unknown"
    if kind in _NETWORK_FILE_SYSTEMS:
        return Finding(Level.OK, "file system", f"{folder} lies on {kind}" + (f" ({source})" if source else ""))
    fix = f"make sure that compute nodes see this folder under this path: srun ls {folder}"
    if kind in _LOCAL_FILE_SYSTEMS:
        what = f"{folder} lies on {kind}, a file system of this machine; compute nodes may not have it"
        return Finding(Level.NOTE, "file system", what, f"{fix}; else move the checkout")
    return Finding(Level.NOTE, "file system", f"whether {folder} is shared is not known ({kind})", fix)


def python_finding(version: Sequence[int], executable: str, missing: Sequence[str]) -> Finding:
    """Judge the environment.

    Args:
        version: of Python; that it is not too old, the script has seen to.
        executable: the interpreter.
        missing: packages that the environment lacks.
    """
    said = f"{'.'.join(map(str, version[:3]))} ({executable})"
    if missing:
        fix = "run `make doctor`, which sets up .venv, or activate the environment that you made"
        return Finding(Level.PROBLEM, "Python", f"{said} lacks {', '.join(missing)}", fix)
    return Finding(Level.OK, "Python", said)


def cuda_of(source: str) -> str | None:
    """Return the CUDA version in the text of torch/version.py, as in `13.0`; None: a build for CPUs."""
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", source, re.MULTILINE)
    return found[1] if found else None


def torch_finding(version: str, cuda: str | None, driver: Answer, gpus: bool, slurm: bool) -> Finding:
    """Judge torch's CUDA against the driver's.

    Args:
        version: of torch.
        cuda: of torch; None: a build for CPUs.
        driver: what nvidia-smi shows on this machine.
        gpus: whether jobs will have GPUs.
        slurm: whether jobs run on other machines.
    """
    if cuda is None:
        said = f"{version}, built without CUDA"
        if not gpus:
            return Finding(Level.OK, "torch", said)
        fix = "rm -r .venv; make setup, with TORCH_INDEX empty or the index of a CUDA build"
        return Finding(Level.PROBLEM, "torch", f"{said}: it would leave the GPUs idle", fix)
    said, major = f"{version} with CUDA {cuda}", cuda.split(".")[0]
    if not gpus:
        return Finding(Level.OK, "torch", said)
    # A minor version may be newer than the driver's (CUDA Compatibility guide, "minor version compatibility").
    found = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)\.(\d+)", driver.output)
    needed = f"driver {_FIRST_DRIVER[major]} or newer" if major in _FIRST_DRIVER else f"a driver of CUDA {major}"
    if driver.status or found is None:
        fix = "look on a compute node: srun --gres=gpu:1 nvidia-smi" if slurm else "see what nvidia-smi says"
        return Finding(Level.NOTE, "torch", f"{said} needs {needed}; this machine shows no driver", fix)
    if int(found[1]) < int(major):
        fix = f"install {needed}, or a torch for CUDA {found[1]}: rm -r .venv; make setup TORCH_INDEX=…"
        return Finding(Level.PROBLEM, "torch", f"{said}, and the driver ends at {found[1]}.{found[2]}", fix)
    return Finding(Level.OK, "torch", f"{said}, and the driver has {found[1]}.{found[2]}")


def interfaces(folder: Path = Path("/sys/class/net")) -> list[str]:
    """Return the network interfaces that are up, InfiniBand first."""
    found = []
    for path in folder.glob("*"):
        if path.name.startswith(_VIRTUAL_INTERFACES) or _read(path / "operstate") != "up":
            continue
        fast = _read(path / "type") == _INFINIBAND or path.name.startswith("ib")
        found.append((not fast, path.name))
    return [name for _, name in sorted(found)]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def interface_finding(names: Sequence[str]) -> Finding:
    """Describe the network interfaces."""
    if not names:
        return Finding(Level.NOTE, "network", "no interface is up")
    return Finding(Level.OK, "network", f"{', '.join(names)}; nccl and gloo choose, unless the site file names one")


def runtime_text(minutes: int) -> str:
    """Return a time as the site file has it: `12h`, or `90m`."""
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


def slurm_site(partition: Partition, nodes: Sequence[Node], account: str | None, interface: str | None) -> str:
    """Return the text of a site file for a cluster; where nodes differ, the smallest with a GPU counts.

    Args:
        partition: of all jobs.
        nodes: of the cluster.
        account: that is charged.
        interface: of this machine, that the ranks' traffic could take.
    """
    own = members(partition, nodes)
    own = [node for node in own if node.gpus] or own
    gpus = min(sum(node.gpus.values()) for node in own)
    cpus = min([node.cpus for node in own] + [partition.cpus or sys.maxsize])
    memory = min([node.mem_mb for node in own] + [partition.mem_mb or sys.maxsize])
    ranks = gpus or min(2, cpus)
    kinds = {kind for node in own for kind in node.gpus}
    only = kinds.pop() if len(kinds) == 1 else ""
    lines = [
        f"# Written by `make doctor` for the partition {partition.name} of a Slurm cluster. Correct it where you know",
        "# better. Every key: config/README.md.",
        "nodes: 1",
        f"ranks_per_node: {ranks}",
        f"gpus_per_node: {gpus}",
        f"cpus_per_rank: {max(1, cpus // ranks)}",
        "# All that a job may have of the smallest node, so that a finetune job has a node to itself.",
        f"mem_mb: {memory}",
        f"runtime: {runtime_text(min(_RUNTIME, partition.minutes or _RUNTIME))}",
        "slurm:",
        f"  account: {_word(account)}" if account else "  # account: my_project",
        f"  partition: {_word(partition.name)}",
        f"  gpu_request: {'gres' if gpus else 'none'}",
    ]
    if gpus:
        lines.append(f"  gpu_type: {_word(only)}" if only else "  # gpu_type: a100")
    lines += [
        "  # What cannot be seen from here; remove the # where it holds.",
        "  # qos: normal",
        "  # every_job_needs_gpu: true",
        "  # modules: [cuda]",
        f"  # network_interface: {interface or 'ib0'}",
        "  # scratch: /tmp",
    ]
    shared = min(memory, max(memory // gpus, _ENOUGH_FOR_A_MODEL)) if gpus else memory
    if shared < memory:
        lines += ["# Jobs with one GPU share a node.", "rules:"]
        lines += [f"  {rule}: {{mem_mb: {shared}}}" for rule in ("merge", "evaluate", "benchmark")]
    return "\n".join(lines) + "\n"


def machine_site(gpus: int, mem_mb: int) -> str:
    """Return the text of a site file for this machine alone.

    Args:
        gpus: number of GPUs.
        mem_mb: memory in MB.
    """
    lines = [
        "# Written by `make doctor` for one machine without Slurm. Every key: config/README.md.",
        "ranks_per_node: auto",
        f"gpus_per_node: {gpus}",
        "cpus_per_rank: auto",
        f"mem_mb: {mem_mb}",
        f"runtime: {runtime_text(_RUNTIME)}",
    ]
    return "\n".join(lines) + "\n"


def _word(name: str) -> str:
    """Return a name as YAML text; quoted, for it may look like a number or a truth value."""
    return f'"{name}"' if re.fullmatch(r"[\d.eE+-]+|(?i:y|n|yes|no|on|off|true|false|null)", name) else name


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _span(values) -> str:
    found = sorted(set(values))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def examine(
    root: Path, run: Ask = ask, partition: str | None = None, account: str | None = None
) -> tuple[list[Finding], str | None]:
    """Return the findings, and the text of a site file; None where something must be put right first.

    Args:
        root: the checkout.
        run: asks a program.
        partition: name of the one that jobs shall use.
        account: name of the one that shall be charged.
    """
    version, driver, up = run("sinfo", "--version"), run("nvidia-smi"), interfaces()
    slurm = version.status != _MISSING and _NO_CLUSTER not in version.complaint
    if slurm:
        findings, gpus, content = _examine_slurm(run, version, partition, account, up)
        folder = shlex.quote(str(root))
        findmnt = run("findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "--target", str(root))
        findings += [folder_finding(folder, findmnt, run("stat", "--file-system", "--format=%T", str(root)))]
        findings += [interface_finding(up)]
    else:
        findings, gpus, content = _examine_alone(run, version, driver, partition or account)
    findings.append(python_finding(sys.version_info, sys.executable, [name for name in _NEEDED if not _version(name)]))
    if torch := _version("torch"):
        source = Path(str(importlib.metadata.distribution("torch").locate_file("torch/version.py")))
        findings.append(torch_finding(torch, cuda_of(_read(source)), driver, gpus, slurm))
    return findings, content


def _examine_alone(
    run: Ask, version: Answer, driver: Answer, asked: str | None
) -> tuple[list[Finding], bool, str | None]:
    """Return the findings of a machine without Slurm, whether it has GPUs, and its site file."""
    gpus = run("nvidia-smi", "-L").output.count("GPU ") if driver.status == 0 else 0
    here = version.status != _MISSING
    why = "its programs find no cluster" if here else "its programs are not on PATH"
    fix = "set SLURM_CONF to the cluster's slurm.conf" if here else "put them on PATH, perhaps by a module"
    if asked is not None:
        fix += ", or leave out --partition and --account"
        return [Finding(Level.PROBLEM, "Slurm", why, fix)], gpus > 0, None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000
    what = f"none, for {why}; runs use this machine, which has {_count(gpus, 'GPU')}"
    return [Finding(Level.NOTE, "Slurm", what, f"if there is a cluster, {fix}")], gpus > 0, machine_site(gpus, memory)


def _examine_slurm(
    run: Ask, version: Answer, asked_partition: str | None, asked_account: str | None, up: Sequence[str]
) -> tuple[list[Finding], bool, str | None]:
    """Return the findings of a cluster, whether jobs will have GPUs, and its site file."""
    findings = [version_finding(version), configuration_finding(os.environ.get("SLURM_CONF"))]
    answers = []
    for what in (("show", "config"), ("--oneliner", "show", "node"), ("--oneliner", "show", "partition")):
        answers.append(run("scontrol", *what))
        if answers[-1].status:
            said = f"scontrol gets no answer ({answers[-1].reason})"
            fix = "if the controller is down, wait; if SLURM_CONF is wrong, correct it"
            return [*findings, Finding(Level.PROBLEM, "controller", said, fix)], False, None
    config, node_list, partition_list = (answer.output for answer in answers)
    settings, nodes, partitions = settings_of(config), nodes_of(node_list), partitions_of(partition_list)
    sacct = run("sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID")
    user = _user()
    where = [f"user={user}", f"cluster={settings.get('ClusterName', '')}"]
    known = run("sacctmgr", "--noheader", "--parsable2", "show", "associations", *where, "format=account")
    default = run("sacctmgr", "--noheader", "--parsable2", "show", "user", user, "format=defaultaccount")
    account, account_finding = choose_account(settings, known, default, asked_account)
    partition, choice = choose_partition(partitions, nodes, account, asked_partition)
    findings += [
        accounting_finding(settings, sacct, known),
        memory_of_jobs_finding(settings, sacct),
        sharing_finding(settings),
        requeue_finding(settings),
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
        # A container whose user has no name.
        return str(os.getuid())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_site(content: str | None, path: Path, root: Path, force: bool) -> Finding:
    """Write a site file, after it has been read as the workflow reads it; return what came of it.

    Args:
        content: text of the file; None: there is nothing to write.
        path: the file.
        root: the checkout.
        force: whether a file that is there is replaced.
    """
    subject = "site file"
    if content is None:
        return Finding(Level.NOTE, subject, "not written", "put right what is a PROBLEM above, and run this again")
    try:
        # Packages come from the environment, which may be what is wrong.
        from dnatune import sites

        if path.exists() and not force:
            sites.load(root, _chosen(path))
            return Finding(Level.NOTE, subject, f"{path} is there and was kept", "to replace it, add --force")
        with publish_file(path) as scratch:
            scratch.write_text(content, "utf-8")
            sites.load(root, _chosen(scratch))
    except ImportError as error:
        return Finding(Level.PROBLEM, subject, f"not written ({error})", "put right the environment: make setup")
    except DnatuneError as error:
        what = f"{error.where or path}: {error.what}"
        return Finding(Level.PROBLEM, subject, what, error.fix or "correct it, or replace it with --force")
    except OSError as error:
        return Finding(Level.PROBLEM, subject, f"{path}: {error.strerror}", "give another folder with --write")
    local = path.resolve().parent == root.resolve() / "profiles" / "sites" / "local"
    use = "used from now on" if local else f"to use it: export DNATUNE_SITE={shlex.quote(str(path.resolve().parent))}"
    return Finding(Level.OK, subject, f"{path} is written; {use}")


def _chosen(path: Path) -> dict[str, str]:
    """Return the environment that chooses a site; it has no GPU, so that nothing is asked of a driver that may hang."""
    return {"DNATUNE_SITE": str(path.resolve()), "CUDA_VISIBLE_DEVICES": ""}
