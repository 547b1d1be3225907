"""Parses what Slurm's programs print about a cluster."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

#: States in which a node takes no jobs (scontrol(1)).
_UNUSABLE = ("DOWN", "DRAIN", "FAIL", "FUTURE", "INVAL", "MAINT", "NOT_RESPONDING", "POWERED_DOWN", "UNKNOWN")


@dataclasses.dataclass(frozen=True)
class Node:
    """A node as Slurm describes it.

    Attributes:
        partitions: names of its partitions.
        cpus: cores that jobs can use.
        mem_mb: memory that jobs can use, in MB.
        gpus: number of GPUs by type; the type is empty if Slurm knows none.
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
        name: its name.
        default: whether jobs that name no partition use it.
        up: whether it takes jobs.
        minutes: longest job in minutes; None for no limit.
        cpus, mem_mb: maximum of a job on one node; None for the whole node.
        allowed, denied: accounts; `allowed` is None if all are allowed.
        tier: PriorityTier; jobs of a partition with a higher tier may preempt this partition's jobs.
        preemption: PreemptMode, what happens to preempted jobs; empty if the cluster's setting applies.
    """

    name: str
    default: bool
    up: bool
    minutes: int | None
    cpus: int | None
    mem_mb: int | None
    allowed: frozenset[str] | None
    denied: frozenset[str]
    tier: int
    preemption: str

    def admits(self, account: str | None) -> bool:
        """Return whether an account may use the partition; True if no account is given."""
        if account is None:
            return True
        return account.lower() not in self.denied and (self.allowed is None or account.lower() in self.allowed)


def settings_of(text: str) -> dict[str, str]:
    """Return the settings that `scontrol show config` lists, `(null)` as the empty string."""
    pairs = re.findall(r"^(\w+)(?:\[0\])?\s+= ?(.*?)\s*$", text, re.MULTILINE)
    return {key: "" if value == "(null)" else value for key, value in pairs}


def seconds_of(text: str) -> int | None:
    """Return a period of `scontrol show config`, such as `300 sec`, in seconds; None if it is not a period."""
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.lower())
    if found is None:
        return None
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86400}.get(found[2][:1], 1)


def minutes_of(text: str) -> int | None:
    """Return a time limit, such as `1-12:00:00`, in whole minutes; None if there is no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+)(?::(\d+))?", text)
    if found is None:
        return None
    days, *clock = found.groups()
    # Two numbers are minutes and seconds, but hours and minutes if they follow days (sbatch(1), --time).
    hours, minutes = (clock[0], clock[1]) if days or clock[2] else ("0", clock[0])
    return 1440 * int(days or 0) + 60 * int(hours) + int(minutes)


def gpus_of(gres: str) -> dict[str, int]:
    """Return the number of GPUs by type in a node's Gres, such as `gpu:a100:4(S:0-1),nvme:1`.

    The type is empty if Slurm knows none. Without GPUs, for example for `(null)`, the map is empty.
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
            # CPUEfctv is CPUTot without the cores reserved for the system; Slurm before 22.05 does not print it.
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
            int(record.get("PriorityTier") or 1),
            record.get("PreemptMode", ""),
        )
        for record in _records(text, "PartitionName")
    ]


def _records(text: str, first: str) -> list[dict[str, str]]:
    """Return each line that begins with a key as a map; if a key occurs twice, as in a Reason, the first counts."""
    lines = [line for line in text.splitlines() if line.startswith(f"{first}=")]
    return [dict(reversed(re.findall(r"(?:^|(?<=\s))(\w+)=(\S*)", line))) for line in lines]


def _limit(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) else None


def _names(text: str) -> frozenset[str]:
    return frozenset(name.lower() for name in text.split(",") if name and name != "(null)")


def members(partition: Partition, nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes of a partition."""
    return [node for node in nodes if partition.name in node.partitions]
